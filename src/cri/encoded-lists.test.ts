import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ListContainersResponse,
  ListPodSandboxResponse,
  StreamContainersResponse,
  StreamPodSandboxesResponse,
} from '../gen/runtime/v1/api.ts';
import type { Container } from '../containers/container.ts';
import { sampleContainerRecord, sampleSandboxRecord } from '../containers/testing/sample-records.ts';
import { listEncoder } from './encoded-lists.ts';
import { containerToWire } from './translate/container-status.ts';
import { sandboxToWire } from './translate/sandbox-status.ts';

test('a list is encoded as one message, each record once', () => {
  let encoded = 0;
  const { all: encode } = listEncoder((one: Container) => {
    encoded += 1;
    return ListContainersResponse.encode({ containers: [containerToWire(one)] }).finish();
  });
  const records = [sampleContainerRecord(), sampleContainerRecord(), sampleContainerRecord()];
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
  const containers = { containers: [containerToWire(sampleContainerRecord())] };
  assert.deepEqual(
    StreamContainersResponse.decode(ListContainersResponse.encode(containers).finish()),
    containers,
  );
  const items = [sandboxToWire(sampleSandboxRecord())];
  assert.deepEqual(
    StreamPodSandboxesResponse.decode(ListPodSandboxResponse.encode({ items }).finish()).podSandboxes,
    items,
  );
});
