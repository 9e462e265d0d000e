/** What no engine can go below: the same work by the kernel, the runtime and tar alone. It stands beside the engines' own times. */
import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { NamespaceThread } from '../../../../src/linux/namespace-thread.ts';
import { createVeth, deleteLink, getLink } from '../../../../src/linux/netlink/links.ts';
import { RouteSocket } from '../../../../src/linux/netlink/socket.ts';
import { bigImage, type BigImageKind, forgetRemoved, layersOf } from '../big-image.ts';
import { floorName } from '../samples.ts';
import type { WorkloadContext } from '../workload.ts';

/** The namespaces of a pod, which its containers join. */
const podKinds = ['net', 'ipc', 'uts'] as const;
const runs = 20;
const unpacks = 3;
/** The fastest first. */
const decompressors: Readonly<Record<BigImageKind, readonly string[]>> = {
  gzip: ['igzip', 'gzip'],
  zstd: ['zstd'],
};

export async function floor(context: WorkloadContext): Promise<void> {
  using frozen = new DisposableStack();
  for (const engine of context.engines) frozen.use(engine.freeze());
  const directory = mkdtempSync(join(tmpdir(), 'gantry-floor-'));
  try {
    await runtimeAlone(context, directory);
    await namespacesAlone(context, directory);
    for (const kind of ['gzip', 'zstd'] as const) await tarAlone(context, { kind, directory });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Whose floor it is. */
interface Above {
  readonly workload: string;
  readonly operation: string;
}

async function timed(
  { measurements }: WorkloadContext,
  above: Above,
  work: () => void | Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  await work();
  measurements.add({ ...above, unit: 'ms', engine: floorName }, performance.now() - startedAt);
}

/** `run` of the OCI runtime with `true`, in namespaces that a pod has already: it makes a container, starts it, and sees its end. */
async function runtimeAlone(context: WorkloadContext, directory: string): Promise<void> {
  await using thread = await NamespaceThread.start();
  const pins = join(directory, 'pod-pins');
  mkdirSync(pins);
  await thread.pin({ kinds: podKinds, directory: pins });
  const bundle = join(directory, 'bundle');
  mkdirSync(join(bundle, 'rootfs/bin'), { recursive: true });
  for (const name of ['proc', 'dev']) mkdirSync(join(bundle, 'rootfs', name));
  cpSync('/bin/busybox', join(bundle, 'rootfs/bin/true'));
  const spec = {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], env: [], cwd: '/' },
    root: { path: 'rootfs' },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: {
      cgroupsPath: '/gantry-floor',
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        { type: 'network', path: join(pins, 'net') },
        { type: 'ipc', path: join(pins, 'ipc') },
        { type: 'uts', path: join(pins, 'uts') },
      ],
    },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
  for (let run = 0; run < runs; run += 1)
    await timed(context, { workload: 'lifecycle', operation: 'CreateContainer + StartContainer' }, () => {
      execFileSync(context.runtime, ['run', '--bundle', bundle, `gantry-floor-${run}`], { stdio: 'inherit' });
    });
  await thread.unpin(podKinds.map((kind) => join(pins, kind)));
}

/** What a pod needs of the kernel: namespaces that stay, and a pair of links into them. */
async function namespacesAlone(context: WorkloadContext, directory: string): Promise<void> {
  await using thread = await NamespaceThread.start();
  using route = RouteSocket.open();
  for (let run = 0; run < runs; run += 1) {
    const pins = join(directory, `pins-${run}`);
    mkdirSync(pins);
    await timed(context, { workload: 'lifecycle', operation: 'RunPodSandbox' }, async () => {
      await thread.pin({ kinds: podKinds, directory: pins });
      const peerNetnsFd = openSync(join(pins, 'net'), 'r');
      await createVeth(route, { name: 'floor', peerName: 'eth0', peerNetnsFd });
      closeSync(peerNetnsFd);
    });
    const link = await getLink(route, 'floor');
    if (link !== undefined) await deleteLink(route, link.index);
    await thread.unpin(podKinds.map((kind) => join(pins, kind)));
  }
}

/** As many layers at once as there are processors; nothing is hashed, nothing is synced to the disk. */
async function tarAlone(
  context: WorkloadContext,
  { kind, directory }: { readonly kind: BigImageKind; readonly directory: string },
): Promise<void> {
  await bigImage(context.registry, kind, context.say);
  const urls = await layersOf(context.registry, kind);
  const program = decompressors[kind].find(isInstalled) ?? kind;
  const script =
    'mkdir "$2" && curl --silent --fail "$0" | "$1" --decompress --stdout | tar --extract --directory "$2"';
  for (let run = 0; run < unpacks; run += 1) {
    const target = join(directory, `tar-${kind}-${run}`);
    mkdirSync(target);
    await forgetRemoved(context.registry, kind);
    await timed(context, { workload: 'pull', operation: kind }, () => {
      const lines = urls.map((url, index) => `${url}\n${program}\n${join(target, String(index))}`).join('\n');
      execFileSync('xargs', [`-P${availableParallelism()}`, '-n3', 'sh', '-c', script], {
        input: lines,
        stdio: ['pipe', 'inherit', 'inherit'],
      });
    });
    rmSync(target, { recursive: true });
  }
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
