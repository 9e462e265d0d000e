import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ListContainersResponse,
  ListPodSandboxResponse,
  StreamContainersResponse,
  StreamPodSandboxesResponse,
} from '../gen/runtime/v1/api.ts';
import { sampleContainer, sampleInput } from '../containers/spec/testing/sample-input.ts';
import type { Container } from '../containers/container.ts';
import { newContainerId, newSandboxId, parseDigest } from '../lib/ids.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { listEncoder } from './encoded-lists.ts';
import { containerToWire } from './translate/container-status.ts';
import { sandboxToWire } from './translate/sandbox-status.ts';

const init = { pid: 1, startTicks: '1' };
const common = { version: 1, runtimeHandler: 'crun', createdAtNs: '1700000000000000000', bootId: 'boot' };

function container(): Container {
  return {
    ...common,
    id: newContainerId(),
    sandboxId: newSandboxId(),
    config: sampleContainer,
    imageId: parseDigest(`sha256:${'0'.repeat(64)}`),
    imageReference: 'registry.example/web:1',
    cgroupsPath: '/c',
    stopSignal: 'SIGTERM',
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: { hugepageLimits: [] },
    state: { name: 'created', processes: { monitor: init, process: init } },
  };
}

test('a list is encoded as one message, each record once', () => {
  let encoded = 0;
  const { all: encode } = listEncoder((one: Container) => {
    encoded += 1;
    return ListContainersResponse.encode({ containers: [containerToWire(one)] }).finish();
  });
  const records = [container(), container(), container()];
  const whole = (list: readonly Container[]): Buffer =>
    Buffer.from(ListContainersResponse.encode({ containers: list.map(containerToWire) }).finish());
  assert.deepEqual(encode(records), whole(records));
  assert.deepEqual(encode(records.toReversed()), whole(records.toReversed()));
  assert.equal(encode([]).length, 0);
  assert.equal(encoded, 3);

  const [first, ...others] = records;
  assert.ok(first);
  const changed: Container = {
    ...first,
    state: { name: 'exited', finishedAtNs: '1', exitCode: 0, reason: 'Completed', message: '' },
  };
  assert.deepEqual(encode([changed, ...others]), whole([changed, ...others]));
  assert.equal(encoded, 4);
});

test('the messages of streams have their lists in the same fields', () => {
  const containers = { containers: [containerToWire(container())] };
  assert.deepEqual(
    StreamContainersResponse.decode(ListContainersResponse.encode(containers).finish()),
    containers,
  );
  const sandbox: Sandbox = {
    ...common,
    id: newSandboxId(),
    config: sampleInput.pod,
    cgroup: { parent: '/', isOwn: true },
    state: { name: 'ready', ips: [], namespaces: {} },
  };
  const items = [sandboxToWire(sandbox)];
  assert.deepEqual(
    StreamPodSandboxesResponse.decode(ListPodSandboxResponse.encode({ items }).finish()).podSandboxes,
    items,
  );
});
