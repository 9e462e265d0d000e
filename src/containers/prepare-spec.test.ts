import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ContainerId, ImageId, SandboxId } from '../lib/ids.ts';
import { RecordDatabase } from '../lib/records.ts';
import { processStartTicks } from '../linux/pidfd.ts';
import type { NamespaceOptions } from '../sandbox/pod-config.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { ContainerSecurity } from './container-config.ts';
import { openContainerStore, type Container } from './container.ts';
import type { SpecRequest } from './deps.ts';
import { createSpecBuilder } from './prepare-spec.ts';
import { sampleContainer, sampleHost, sampleInput, sampleSecurity } from './spec/testing/sample-input.ts';

const base = mkdtempSync(join(tmpdir(), 'gantry-prepare-'));
const rootfs = join(base, 'rootfs');
mkdirSync(rootfs);
const database = RecordDatabase.open(join(base, 'state.db'));
after(() => {
  database[Symbol.dispose]();
  rmSync(base, { recursive: true });
});

const containers = openContainerStore(database, (error) => assert.fail(String(error)));
const builder = createSpecBuilder({
  containers,
  stateDirectory: base,
  host: sampleHost,
  runtimeKind: () => 'crun',
  defaults: sampleInput.defaults,
});

const podId = 'a'.repeat(64) as SandboxId;
const otherPodId = 'b'.repeat(64) as SandboxId;
const created = { createdAtNs: '0', bootId: 'boot', runtimeHandler: '' };

function sandboxOf(id: SandboxId): Sandbox {
  const state = { name: 'ready', ips: [], namespaces: { net: '/n', ipc: '/i', uts: '/u' } } as const;
  const cgroup = { parent: '/pod', isOwn: true };
  return { ...created, version: 1, id, config: sampleInput.pod, cgroup, state };
}

function addContainer(digit: string, sandboxId: SandboxId, state: Container['state']): ContainerId {
  const id = digit.repeat(64) as ContainerId;
  containers.add({
    ...created,
    version: 1,
    id,
    sandboxId,
    config: { ...sampleContainer, metadata: { name: digit, attempt: 0 } },
    imageId: 'sha256:0' as ImageId,
    imageReference: 'x',
    cgroupsPath: '/c',
    stopSignal: 'SIGTERM',
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: { hugepageLimits: [] },
    state,
  });
  return id;
}

const stored = { pid: process.pid, startTicks: String(processStartTicks(process.pid)) };
const processes = { process: stored, monitor: stored };
const running = { name: 'running', processes, startedAtNs: '1' } as const;
const target = addContainer('1', podId, running);
const second = addContainer('2', podId, running);
const unstarted = addContainer('3', podId, { name: 'created', processes });
const foreign = addContainer('4', otherPodId, running);

function requestWith(security: Partial<ContainerSecurity>): SpecRequest {
  const linux = { ...sampleContainer.linux, security: { ...sampleSecurity, ...security } };
  const image = {
    user: '',
    entrypoint: ['/entry'],
    cmd: [],
    env: [],
    workingDir: '',
    volumes: [],
    labels: {},
    exposedPorts: [],
    stopSignal: 'SIGTERM',
  };
  return {
    id: '5'.repeat(64) as ContainerId,
    sandbox: sandboxOf(podId),
    config: { ...sampleContainer, linux },
    image: { id: 'sha256:0' as ImageId, config: image },
    rootfs,
    cgroupsPath: '/c',
    mounts: [],
    volumes: [{ path: '/data', source: '/volumes/0' }],
  };
}

function withNamespaces(changes: Partial<NamespaceOptions>): SpecRequest {
  return requestWith({ namespaces: { ...sampleSecurity.namespaces, ...changes } });
}

const of = (targetId: string) => ({ mode: 'target', targetId }) as const;

test('a target’s pid, net and ipc namespaces are joined by its process', async () => {
  const { spec } = await builder.build(
    withNamespaces({ pid: of(target), network: of(target), ipc: of(target) }),
  );
  const paths = new Map(spec.linux.namespaces?.map(({ type, path }) => [type, path]));
  assert.equal(paths.get('pid'), `/proc/${process.pid}/ns/pid`);
  assert.equal(paths.get('network'), `/proc/${process.pid}/ns/net`);
  assert.equal(paths.get('ipc'), `/proc/${process.pid}/ns/ipc`);
  const onlyIpc = await builder.build(withNamespaces({ ipc: of(target) }));
  const ipc = onlyIpc.spec.linux.namespaces?.find(({ type }) => type === 'ipc');
  assert.equal(ipc?.path, `/proc/${process.pid}/ns/ipc`);
});

test('a target that cannot be joined is refused', async () => {
  const rows = [
    [{ pid: of(foreign) }, 'invalid-argument', /is in another pod/],
    [{ pid: of(unstarted) }, 'failed-precondition', /is created, not running/],
    [{ pid: of('f'.repeat(64)) }, 'not-found', /does not exist/],
    [{ pid: of(target), ipc: of(second) }, 'invalid-argument', /one target container/],
  ] as const;
  for (const [namespaces, kind, message] of rows) {
    await assert.rejects(builder.build(withNamespaces(namespaces)), { kind, message });
  }
});

test('a target whose pid has passed to another process is not joined', async () => {
  const passed = { ...processes, process: { ...stored, startTicks: '1' } };
  const ended = addContainer('5', podId, { ...running, processes: passed });
  await assert.rejects(builder.build(withNamespaces({ pid: of(ended) })), {
    kind: 'failed-precondition',
    message: /has ended/,
  });
});

test('a localhost seccomp profile is found with and without its type in front', async () => {
  const file = join(base, 'profile.json');
  writeFileSync(file, JSON.stringify({ defaultAction: 'SCMP_ACT_LOG' }));
  for (const ref of [file, `localhost/${file}`]) {
    const { spec } = await builder.build(requestWith({ seccomp: { type: 'localhost', ref } }));
    assert.equal(spec.linux.seccomp?.defaultAction, 'SCMP_ACT_LOG', ref);
  }
  for (const [ref, kind, message] of [
    ['localhost/profile.json', 'invalid-argument', /not an absolute path/],
    [join(base, 'none.json'), 'failed-precondition', /none\.json/],
    [base, 'failed-precondition', /not a regular file/],
  ] as const) {
    await assert.rejects(builder.build(requestWith({ seccomp: { type: 'localhost', ref } })), {
      kind,
      message,
    });
  }
});

test('the image’s volumes are mounted', async () => {
  const { spec } = await builder.build(requestWith({}));
  const volume = spec.mounts.find(({ destination }) => destination === '/data');
  assert.equal(volume?.source, '/volumes/0');
});
