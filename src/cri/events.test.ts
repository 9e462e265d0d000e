import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openContainerStore } from '../containers/container.ts';
import { sampleSandboxRecord } from '../containers/testing/sample-records.ts';
import { ContainerEventType, PodSandboxState, type ContainerEventResponse } from '../gen/runtime/v1/api.ts';
import { isKind } from '../lib/errors.ts';
import { RecordDatabase } from '../lib/records.ts';
import { openSandboxStore } from '../sandbox/sandbox.ts';
import { eventHandlers } from './events.ts';

const onListenerError = (error: unknown): void => assert.fail(String(error));

function openStores(database: RecordDatabase) {
  return {
    sandboxes: openSandboxStore(database, onListenerError),
    containers: openContainerStore(database, onListenerError),
  };
}

const sandbox = sampleSandboxRecord({ state: { name: 'not-ready', stoppedAtMs: 1_700_000_000_000 } });

/** The stream, subscribed: an iteration subscribes when its first item is asked for. */
function subscribe(stores: ReturnType<typeof openStores>, signal: AbortSignal) {
  const stream = eventHandlers(stores).getContainerEvents({}, signal)[Symbol.asyncIterator]();
  const first = stream.next();
  return { stream, first };
}

test('the event of a deleted pod carries its last status', async () => {
  using database = RecordDatabase.open(':memory:');
  const stores = openStores(database);
  const stop = new AbortController();
  const { stream, first } = subscribe(stores, stop.signal);
  stores.sandboxes.events.emit({ kind: 'deleted', sandbox });
  const event = (await first).value as ContainerEventResponse;
  assert.equal(event.containerId, sandbox.id);
  assert.equal(event.containerEventType, ContainerEventType.CONTAINER_DELETED_EVENT);
  assert.equal(event.podSandboxStatus?.id, sandbox.id);
  assert.equal(event.podSandboxStatus.state, PodSandboxState.SANDBOX_NOTREADY);
  stop.abort();
  assert.equal((await stream.next()).done, true);
});

test('a client that does not read loses its stream, and what waited for it is let go', async () => {
  using database = RecordDatabase.open(':memory:');
  const stores = openStores(database);
  const { stream, first } = subscribe(stores, new AbortController().signal);
  const emit = (): void => stores.sandboxes.events.emit({ kind: 'stopped', sandbox });
  emit();
  await first;
  for (let count = 0; count <= 10_000; count += 1) emit();
  await assert.rejects(stream.next(), (error) => isKind(error, 'resource-exhausted'));
});
