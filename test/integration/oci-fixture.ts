/** A runtime that works here, a conmon, and bundles with busybox in a temporary directory; all of it goes with the fixture. */
import {
  existsSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Poller } from '../../src/linux/poll.ts';
import { chooseRuntime, loadRuntime } from '../../src/oci/choose-runtime.ts';
import type { MonitorDeps } from '../../src/oci/monitor.ts';
import type { Spec } from '../../src/oci/spec-types.ts';

const applets = [
  'sh',
  'sleep',
  'true',
  'cat',
  'echo',
  'head',
  'tail',
  'stty',
  'kill',
  'wc',
  'yes',
  'setsid',
  'ls',
  'dd',
];
/** Which runtime the tests run with: GANTRY_TEST_RUNTIME, else the first one that works. */
const wanted = process.env['GANTRY_TEST_RUNTIME'];

export interface OciFixture extends AsyncDisposable {
  readonly deps: MonitorDeps;
  readonly directory: string;
  readonly exitDirectory: string;
  readonly placed: number[];
  /** Writes a bundle that runs `args` and returns its directory. */
  bundle(id: string, args: readonly string[], change?: (spec: Spec) => Spec): string;
}

export async function makeOciFixture(): Promise<OciFixture> {
  await using undo = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'gantry-oci-'));
  undo.defer(() => rmSync(directory, { recursive: true, force: true }));
  const poller = undo.use(new Poller());
  const cgroup = `/gantry-test-${process.pid}`;
  undo.defer(() => removeTestCgroups(cgroup));
  const candidates = ['crun', 'runc']
    .filter((name) => wanted === undefined || name === wanted)
    .map((name) => ({ name, path: `/usr/bin/${name}` }))
    .filter(({ path }) => existsSync(path));
  const host = { rootDirectory: join(directory, 'runtime'), systemdCgroup: false };
  const runtimes = await Promise.all(candidates.map(async (each) => await loadRuntime(host, each)));
  const { runtime } = await chooseRuntime({ poller }, runtimes);
  for (const name of ['exits', 'sockets', 'bundles', 'rootfs/bin', 'rootfs/proc', 'rootfs/dev']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(directory, 'rootfs/bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(directory, 'rootfs/bin', applet));
  const placed: number[] = [];
  const conmon = {
    path: '/usr/bin/conmon',
    exitDirectory: join(directory, 'exits'),
    socketDirectory: join(directory, 'sockets'),
    place: async (pid: number) => void placed.push(pid),
  };
  const resources = undo.move();
  return {
    deps: { runtime, poller, conmon },
    directory,
    exitDirectory: conmon.exitDirectory,
    placed,
    bundle(id, args, change = (spec) => spec) {
      const bundle = join(directory, 'bundles', id);
      mkdirSync(bundle);
      const spec = change(baseSpec(join(directory, 'rootfs'), `${cgroup}/${id}`, args));
      writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
      return bundle;
    },
    async [Symbol.asyncDispose]() {
      await resources.disposeAsync();
    },
  };
}

function baseSpec(rootfs: string, cgroupsPath: string, args: readonly string[]): Spec {
  return {
    ociVersion: '1.0.2',
    process: { user: { uid: 0, gid: 0 }, args, env: ['PATH=/bin'], cwd: '/' },
    root: { path: rootfs },
    mounts: [
      { destination: '/proc', source: 'proc', type: 'proc' },
      { destination: '/dev', source: 'tmpfs', type: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        source: 'devpts',
        type: 'devpts',
        options: ['newinstance', 'ptmxmode=0666'],
      },
    ],
    linux: {
      cgroupsPath,
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }, { type: 'network' }],
    },
  };
}

function removeTestCgroups(cgroup: string): void {
  const mounts = [
    '',
    ...readdirSync('/sys/fs/cgroup', { withFileTypes: true }).map((entry) => `/${entry.name}`),
  ];
  for (const mount of mounts) {
    try {
      rmdirSync(`/sys/fs/cgroup${mount}${cgroup}`);
    } catch {
      // Not a hierarchy, or the runtime made nothing in it.
    }
  }
}
