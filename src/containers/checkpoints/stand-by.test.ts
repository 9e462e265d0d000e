import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { isKind } from '../../lib/errors.ts';
import { type ContainerId, type ImageId, newContainerId, newSandboxId } from '../../lib/ids.ts';
import { temporaryDatabase } from '../../lib/testing/temporary-database.ts';
import type { Spec } from '../../oci/spec-types.ts';
import { openSandboxStore, type Sandbox, sandboxPaths } from '../../sandbox/sandbox.ts';
import { type Container, containerPaths, openContainerStore } from '../container.ts';
import type { Checkpoints, ContainerDeps } from '../deps.ts';
import { sampleContainer } from '../spec/testing/sample-input.ts';
import { messageIn, numberOf, readImage, textOf } from './criu-images.ts';
import type { CheckpointSource } from './open-source.ts';
import { prepareRestoredRoot, recoverUnrestored, restore, standBy } from './stand-by.ts';
import { core, type Fields, fittingImages, fittingSpec, image, mounts } from './testing/fitting-images.ts';
import { restoreWork } from './work-directory.ts';

const signal = new AbortController().signal;
const processes = { process: { pid: 1, startTicks: '1' }, monitor: { pid: 2, startTicks: '2' } };
type Images = Readonly<Record<string, Buffer>>;

/** A node with one pod, a container in it that is being made, and drivers that only note what they are asked. */
function node(t: TestContext, more: Partial<Checkpoints> = {}) {
  const { directory, database } = temporaryDatabase(t);
  const onError = (error: unknown): void => assert.fail(String(error));
  const sandboxes = openSandboxStore(database, onError);
  const sandboxId = newSandboxId();
  const config = {
    metadata: { name: 'p', uid: 'u', namespace: 'd', attempt: 0 },
    sysctls: { 'kernel.sem': '1 2 3 4' },
  };
  sandboxes.add({
    version: 1,
    id: sandboxId,
    createdAtNs: '1',
    config,
    state: { name: 'ready' },
  } as unknown as Sandbox);
  const pod = sandboxPaths(directory, sandboxId);
  mkdirSync(pod.directory, { recursive: true });
  writeFileSync(pod.hostname, 'new-pod\n');

  const store = openContainerStore(database, onError);
  const id = newContainerId();
  const { bundle } = containerPaths(directory, id);
  mkdirSync(bundle, { recursive: true });
  mkdirSync(join(directory, 'rootfs/proc'), { recursive: true });
  const base = {
    version: 1,
    id,
    sandboxId,
    config: sampleContainer,
    runtimeHandler: 'runc',
    cgroupsPath: '/pod/c',
  };
  const draft = { ...base, state: { name: 'creating' } } as unknown as Container;
  store.add(draft);

  const work = join(directory, 'checkpoints');
  mkdirSync(work);
  const said: unknown[] = [];
  const events: string[] = [];
  store.events.subscribe(({ kind }) => events.push(kind));
  const nothing = async (): Promise<void> => {};
  const deps = {
    store,
    sandboxes,
    stateDirectory: directory,
    checkpoints: {
      directory: work,
      whyNot: async () => undefined,
      cgroupPath: (path: string) => `/real${path}`,
      hasUnifiedCgroups: false,
      restore: async (_container: Container, request: unknown) => {
        said.push(request);
        return processes;
      },
      ...more,
    },
    runtime: { isStarted: async () => false, delete: async () => void said.push('delete') },
    cgroups: { destroy: nothing },
    images: { unmountSnapshot: nothing },
    mounts: { release: nothing },
  } as unknown as ContainerDeps;
  const source = (images: Images = fittingImages): CheckpointSource => {
    const reading = join(work, 'reading-1');
    mkdirSync(join(reading, 'checkpoint'), { recursive: true });
    for (const [name, bytes] of Object.entries(images))
      writeFileSync(join(reading, 'checkpoint', name), bytes);
    const from = '/var/lib/kubelet/checkpoints/a.tar';
    return { directory: reading, from, image: { id: 'sha256:1' as ImageId } } as unknown as CheckpointSource;
  };
  const specFile = join(bundle, 'config.json');
  const writeSpec = (spec: Spec): void => writeFileSync(specFile, JSON.stringify(spec));
  writeSpec(fittingSpec(join(directory, 'rootfs')));
  const readSpec = (): Spec => JSON.parse(readFileSync(specFile, 'utf8')) as Spec;
  return {
    deps,
    draft,
    id,
    work,
    source,
    said,
    events,
    readSpec,
    writeSpec,
    bundle,
    rootfs: join(directory, 'rootfs'),
  };
}

test('a container stands by: created, without processes, its images out of reach of the next reader', async (t) => {
  const { deps, draft, id, work, source, events, readSpec, bundle } = node(t);
  const created = await standBy(deps, draft, source());
  assert.deepEqual(
    [created.state, created.restoredFrom],
    [{ name: 'created' }, '/var/lib/kubelet/checkpoints/a.tar'],
  );
  assert.deepEqual(deps.store.get(id), created);
  assert.deepEqual(events, ['created']);
  assert.ok(!existsSync(join(work, 'reading-1')));
  assert.deepEqual(
    readFileSync(join(restoreWork(work, id), 'checkpoint/pages-1.img')),
    Buffer.from('memory'),
  );
  const { annotations, mounts: changed } = readSpec();
  assert.deepEqual(annotations, { 'org.criu.config': join(bundle, 'criu.conf') });
  assert.equal(readFileSync(join(bundle, 'criu.conf'), 'utf8'), 'tcp-close\n');
  assert.deepEqual([statSync(join(bundle, 'criu.conf')).mode & 0o777, changed.length], [0o600, 2]);
});

test('host name and limits are those of the new pod', async (t) => {
  const { deps, draft, id, work, source } = node(t);
  const entry = image({ 1: 'old-pod', 2: 'old-domain' });
  await standBy(deps, draft, source({ ...fittingImages, 'utsns-11.img': entry, 'ipcns-var-10.img': entry }));
  const images = join(restoreWork(work, id), 'checkpoint');
  const [uts = new Map()] = readImage(images, 'utsns-11.img');
  assert.equal(textOf(uts, 1), 'new-pod');
  const [ipc = new Map()] = readImage(images, 'ipcns-var-10.img');
  assert.deepEqual(ipc.get(1), [1n, 2n, 3n, 4n]);
  assert.equal(numberOf(ipc, 2), 8192);
});

test('a checkpoint with more than the request gives leaves container and request as they were', async (t) => {
  const { deps, draft, id, work, source, events, readSpec } = node(t);
  const before = readSpec();
  const mighty = { ...fittingImages, 'core-1.img': image(core({ creds: { 12: [1 << 12] } })) };
  await assert.rejects(standBy(deps, draft, source(mighty)), (error) => isKind(error, 'permission-denied'));
  assert.equal(deps.store.get(id)?.state.name, 'creating');
  assert.deepEqual([events, readSpec()], [[], before]);
  assert.ok(!existsSync(restoreWork(work, id)));
});

test('on a host with cgroup v2 alone processes go into the cgroup of the new container', async (t) => {
  const { deps, draft, id, work, source } = node(t, { hasUnifiedCgroups: true });
  const old = '/gantry/pod/old';
  const more = {
    'cgroup.img': image({
      1: { 1: 2, 2: { 1: '', 2: old, 3: old.length } },
      2: { 1: '', 2: { 1: old.slice(1) } },
    }),
    'pstree.img': image({ 1: 1, 2: 0, 3: 1, 4: 1, 5: 1 }),
    'core-1.img': image(core({ task: { 9: 2 } })),
  };
  await standBy(deps, draft, source({ ...fittingImages, ...more }));
  const [cgroups = new Map()] = readImage(join(restoreWork(work, id), 'checkpoint'), 'cgroup.img');
  const place = messageIn(messageIn(cgroups, 1), 2);
  // The request has no namespace of cgroups.
  assert.deepEqual([textOf(place, 2), numberOf(place, 3)], ['/real/pod/c', 0]);
});

test('the hierarchies of cgroup v1 are the container’s own in the new pod', async (t) => {
  const { deps, draft, source, readSpec, writeSpec, rootfs } = node(t);
  const destination = '/sys/fs/cgroup';
  const spec = fittingSpec(rootfs);
  const options = ['nosuid', 'ro'];
  writeSpec({
    ...spec,
    mounts: [...spec.mounts, { destination, type: 'cgroup', source: 'cgroup', options }],
  });
  const more: readonly Fields[] = [
    { 1: 5, 2: 7, 5: 2, 7: destination },
    { 1: 12, 2: 8, 5: 3, 7: `${destination}/memory`, 18: `${destination}/memory` },
  ];
  await standBy(deps, draft, source({ ...fittingImages, 'mountpoints-13.img': image(...mounts, ...more) }));
  const [own, memory] = readSpec().mounts.slice(2);
  assert.deepEqual([own?.destination, own?.type], [destination, 'tmpfs']);
  assert.deepEqual(memory, {
    destination: `${destination}/memory`,
    type: 'bind',
    source: '/sys/fs/cgroup/memory/real/pod/c',
    options: ['bind', ...options],
  });
});

for (const [what, process, securityProfile] of [
  ['no profile', {}, undefined],
  ['an AppArmor profile', { apparmorProfile: 'strict' }, 'apparmor:strict'],
  ['an SELinux label', { selinuxLabel: 'a:b:c:d' }, 'selinux:a:b:c:d'],
] as const)
  test(`processes are restored with what the request says: ${what}`, async (t) => {
    const { deps, draft, id, work, source, said, readSpec, writeSpec, bundle } = node(t);
    const created = await standBy(deps, draft, source());
    const spec = readSpec();
    writeSpec({ ...spec, process: { ...spec.process, ...process } });
    const imageDirectory = join(restoreWork(work, id), 'checkpoint');
    assert.deepEqual(await restore(deps, created, signal), processes);
    assert.deepEqual(said, [{ imageDirectory, securityProfile }]);
    // A checkpoint that is made of it later reads the same options: those of a restore are not for it.
    assert.equal(readFileSync(join(bundle, 'criu.conf'), 'utf8'), '');
    assert.ok(!existsSync(restoreWork(work, id)));
  });

test('a restore that fails keeps its images: the error is what the start says', async (t) => {
  const failing = async (): Promise<never> => {
    throw new Error('CRIU: no such file');
  };
  const { deps, draft, id, work, source } = node(t, { restore: failing });
  const created = await standBy(deps, draft, source());
  await assert.rejects(restore(deps, created, signal), /CRIU: no such file/);
  assert.ok(existsSync(restoreWork(work, id)));
});

test('on a host that cannot restore it is said before anything is unpacked', async (t) => {
  const { deps, draft, source } = node(t, { whyNot: async () => 'CRIU is not installed' });
  const refused = prepareRestoredRoot(deps, { draft, source: source() }, signal);
  await assert.rejects(refused, { kind: 'failed-precondition', message: /CRIU is not installed/ });
});

test('the root stands upon the image of the checkpoint and what the archive brings, deleted files last', async (t) => {
  const asked: unknown[] = [];
  const prepareSnapshot = async (key: ContainerId, below: unknown) => {
    asked.push(key, below);
    return { rootfs: '/rootfs' };
  };
  const layers = { prepareSnapshot } as unknown as Checkpoints['layers'];
  const { deps, draft, id, source } = node(t, { layers });
  const given = source();
  writeFileSync(join(given.directory, 'rootfs-diff.tar'), '');
  writeFileSync(join(given.directory, 'deleted.files'), '["/etc/group"]');
  assert.deepEqual(await prepareRestoredRoot(deps, { draft, source: given }, signal), { rootfs: '/rootfs' });
  const tars = ['rootfs-diff.tar', 'whiteouts.tar'].map((name) => join(given.directory, name));
  assert.deepEqual(asked, [id, { imageId: 'sha256:1', tars }]);
});

test('after a restart of the daemon one that still waits goes on waiting', async (t) => {
  const { deps, draft, id, source, said } = node(t);
  await recoverUnrestored(deps, await standBy(deps, draft, source()));
  assert.deepEqual([deps.store.get(id)?.state, said], [{ name: 'created' }, []]);
});

for (const [what, spoil] of [
  ['whose images are gone', (work: string) => rmSync(work, { recursive: true })],
  ['that runs already, with a monitor that nobody knows', undefined],
] as const)
  test(`after a restart of the daemon one ${what} has ended`, async (t) => {
    const { deps, draft, id, work, source, said, events } = node(t);
    const created = await standBy(deps, draft, source());
    if (spoil === undefined) t.mock.method(deps.runtime, 'isStarted', async () => true);
    spoil?.(restoreWork(work, id));
    await recoverUnrestored(deps, created);
    const state = deps.store.get(id)?.state;
    assert.ok(state?.name === 'exited');
    assert.deepEqual([state.exitCode, state.reason], [137, 'Error']);
    assert.match(state.message, /ended while it was being restored/);
    assert.deepEqual([said, events], [['delete'], ['created', 'stopped']]);
    assert.ok(!existsSync(restoreWork(work, id)));
  });
