/** Volumes that an image declares: writable under a read-only root, with the image's content, and never the host's. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { detectHostCgroups } from '../../src/cgroups/host.ts';
import { createContainerVolumes } from '../../src/containers/container-volumes.ts';
import type { ContainerVolumes } from '../../src/containers/deps.ts';
import { buildSpec } from '../../src/containers/spec/build-spec.ts';
import { readHostFacts } from '../../src/containers/spec/read-host-facts.ts';
import { sampleInput, withMount, withSecurity } from '../../src/containers/spec/testing/sample-input.ts';
import { SnapshotStore } from '../../src/images/snapshots/snapshot-store.ts';
import type { ContainerId } from '../../src/lib/ids.ts';
import { mountOverlay } from '../../src/linux/overlay.ts';
import { PathWorkers } from '../../src/linux/path-worker.ts';
import { enterPrivateMounts } from '../../src/linux/private-mounts.ts';
import { mountTmpfs, unmount } from '../../src/linux/mount.ts';

enterPrivateMounts();
const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-volumes-')));
const lower = join(base, 'lower');
const rootfs = join(base, 'rootfs');
const directory = join(base, 'volumes');
const { signal } = new AbortController();
const paths = new PathWorkers();
let snapshots: SnapshotStore;
let volumes: ContainerVolumes;

before(() => {
  mountTmpfs({ target: base, flags: [] });
  for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'srv/data/sub', 'empty', 'var', 'run/lock'])
    mkdirSync(join(lower, name), { recursive: true });
  copyFileSync('/bin/busybox', join(lower, 'bin/busybox'));
  writeFileSync(join(lower, 'srv/data/seed'), 'from the image\n');
  writeFileSync(join(lower, 'srv/data/sub/tool'), '');
  chmodSync(join(lower, 'srv/data/sub/tool'), 0o4755);
  chownSync(join(lower, 'srv/data'), 70, 71);
  chmodSync(join(lower, 'srv/data'), 0o700);
  chmodSync(join(lower, 'empty'), 0o1777);
  symlinkSync('/run', join(lower, 'var/run'));
  symlinkSync(join(base, 'host'), join(lower, 'escape'));
  symlinkSync('loop', join(lower, 'loop'));
  writeFileSync(join(lower, 'file'), '');
  mkdirSync(join(base, 'host'));
  writeFileSync(join(base, 'host/secret'), 'of the host');
  for (const name of ['upper', 'work', 'rootfs']) mkdirSync(join(base, name));
  mountOverlay({
    lowerDirs: [lower],
    upperDir: join(base, 'upper'),
    workDir: join(base, 'work'),
    target: rootfs,
  });
  const onError = (error: unknown): void => assert.fail(String(error));
  snapshots = new SnapshotStore({ root: join(base, 'overlay'), paths, onError });
  volumes = createContainerVolumes({
    paths,
    host: { selinuxEnabled: false },
    directory,
    ownDirectories: [base],
    discard: (path) => void snapshots.discard(path),
  });
});
after(async () => {
  await snapshots[Symbol.asyncDispose]();
  await paths[Symbol.asyncDispose]();
  unmount(rootfs, { lazy: true });
  unmount(base, { lazy: true });
  rmSync(base, { recursive: true });
});

function requestFor(id: string, declared: readonly string[], mounts = sampleInput.mounts) {
  const config = {
    user: '',
    entrypoint: [],
    cmd: [],
    env: [],
    workingDir: '',
    labels: {},
    exposedPorts: [],
    volumes: declared,
  };
  const image = { id: 'sha256:0', config };
  const sandbox = { config: sampleInput.pod };
  const request = { id, sandbox, config: sampleInput.container, image, rootfs, mounts };
  return request as unknown as Parameters<ContainerVolumes['prepare']>[0];
}

test('a volume begins with what the image has there, and goes with its container', async () => {
  const request = requestFor(
    'one',
    ['/srv/data', '/empty', '/new', '/var/run/lock', '/mounted'],
    [...withMount({ containerPath: '/mounted' }).mounts],
  );
  const made = await volumes.prepare(request, signal);
  assert.deepEqual(
    made.map(({ path }) => path),
    ['/srv/data', '/empty', '/new', '/var/run/lock'],
  );
  const [data, empty, fresh] = made.map(({ source }) => source);
  assert.ok(data !== undefined && empty !== undefined && fresh !== undefined);
  assert.equal(readFileSync(join(data, 'seed'), 'utf8'), 'from the image\n');
  assert.equal(statSync(join(data, 'sub/tool')).mode & 0o7777, 0o4755);
  const { mode, uid, gid } = statSync(data);
  assert.deepEqual([mode & 0o7777, uid, gid], [0o700, 70, 71]);
  assert.equal(statSync(empty).mode & 0o7777, 0o1777);
  assert.equal(statSync(fresh).mode & 0o7777, 0o755);
  assert.equal(statSync(directory).mode & 0o7777, 0o700);
  await volumes.remove('one' as ContainerId);
  await volumes.remove('one' as ContainerId);
  assert.deepEqual(readdirSync(directory), []);
  assert.ok(existsSync(join(rootfs, 'srv/data/seed')), 'the image keeps its own');
});

test('volumes that no record owns are removed, the others stay', async () => {
  await volumes.removeOrphans(new Set());
  for (const id of ['kept', 'lost']) await volumes.prepare(requestFor(id, ['/srv/data']), signal);
  await volumes.removeOrphans(new Set(['kept']));
  assert.deepEqual(readdirSync(directory), ['kept']);
  await volumes.remove('kept' as ContainerId);
});

test('an image without volumes leaves nothing behind', async () => {
  assert.deepEqual(await volumes.prepare(requestFor('plain', []), signal), []);
  assert.ok(!existsSync(join(directory, 'plain')));
});

test('CVE-2022-23648: a volume behind a symlink or .. never holds a file of the host', async () => {
  for (const declared of ['/escape', `/../../../..${base}/host`]) {
    const [volume] = await volumes.prepare(requestFor('two', [declared]), signal);
    assert.ok(volume !== undefined);
    assert.deepEqual(readdirSync(volume.source), [], declared);
    await volumes.remove('two' as ContainerId);
  }
});

test('what cannot be a volume is refused by name, and a client that left is heard', async () => {
  for (const [declared, problem] of [
    ['/file', /"\/file" is not a directory/],
    ['/loop', /"\/loop" leads in circles/],
  ] as const) {
    await assert.rejects(volumes.prepare(requestFor('three', [declared]), signal), {
      kind: 'failed-precondition',
      message: problem,
    });
    await volumes.remove('three' as ContainerId);
  }
  const gone = AbortSignal.abort(new Error('the client left'));
  await assert.rejects(volumes.prepare(requestFor('three', ['/srv/data']), gone), /the client left/);
  await volumes.remove('three' as ContainerId);
  assert.deepEqual(readdirSync(directory), []);
});

test('under a read-only root a volume can be written to, and the host sees it', async () => {
  const made = await volumes.prepare(requestFor('four', ['/srv/data']), signal);
  const bundle = join(base, 'bundle');
  mkdirSync(bundle);
  const script =
    'busybox cat /srv/data/seed; echo w > /srv/data/new; busybox touch /x || echo root-is-read-only';
  const plain = withSecurity({ readonlyRootfs: true, namespaces: ownNamespaces });
  const runtimeName = 'runc';
  const facts = { runtimeName, recursiveReadOnlyMounts: false, idmappedMounts: false };
  const spec = buildSpec({
    ...plain,
    pod: { ...plain.pod, namespaces: ownNamespaces },
    container: { ...plain.container, workingDir: '/', command: ['/bin/busybox', 'sh', '-c', script] },
    host: readHostFacts(facts, detectHostCgroups()),
    user: { uid: 0, gid: 0, supplementalGroups: [0], home: '/' },
    rootfs,
    cgroupsPath: `/gantry-volumes-test-${process.pid}`,
    sandbox: { id: 'a', namespaces: {}, files: {} },
    volumes: made,
  });
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
  const seen = execFileSync(
    'unshare',
    [
      '--mount',
      'sh',
      '-c',
      `[ -d /sys/fs/cgroup/unified ] && umount /sys/fs/cgroup/unified
      cd ${bundle} && exec ${runtimeName} --root ${base}/state run gantry-volumes-test-${process.pid}`,
    ],
    { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  assert.match(seen, /^from the image$/m);
  assert.match(seen, /^root-is-read-only$/m);
  assert.equal(readFileSync(join(made[0]?.source ?? '', 'new'), 'utf8'), 'w\n');
  await volumes.remove('four' as ContainerId);
});

/** No network of its own: nothing of this test needs one. */
const ownNamespaces = {
  network: { mode: 'node' },
  pid: { mode: 'container' },
  ipc: { mode: 'container' },
} as const;
