import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  type Client,
  credentials,
  makeGenericClientConstructor,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { pino } from 'pino';
import { RuntimeServiceService } from '../gen/runtime/v1/api.ts';
import { EngineError } from '../lib/errors.ts';
import { Semaphore } from '../lib/semaphore.ts';

import { createRequestMetrics } from '../telemetry/request-metrics.ts';
import { phase } from '../telemetry/traces/phase.ts';
import { RequestTraces } from '../telemetry/traces/request-traces.ts';
import type { Trace } from '../telemetry/traces/trace.ts';
import { type InterceptorDeps, serverStreaming, unary } from './interceptor.ts';

type Unary = (id: string, signal: AbortSignal) => Promise<void>;

interface Handlers {
  /** A request that stands in line. */
  readonly stop?: Unary;
  /** One that does not. */
  readonly exec?: Unary;
  readonly stream?: (signal: AbortSignal) => AsyncIterable<string>;
}

interface Face {
  readonly client: Client;
  readonly traces: RequestTraces;
  readonly stop: (id: string, timeoutMs?: number) => { done: Promise<void>; cancel(): void };
  readonly exec: (id: string, timeoutMs?: number) => { done: Promise<void>; cancel(): void };
}

const definition = {
  stopPodSandbox: RuntimeServiceService.stopPodSandbox,
  execSync: RuntimeServiceService.execSync,
  streamPodSandboxes: RuntimeServiceService.streamPodSandboxes,
} as const;

/** A server with these handlers behind the interceptor, on a socket of its own, and a client of it. */
async function serve(t: TestContext, handlers: Handlers, places = 64): Promise<Face> {
  const deps: InterceptorDeps = {
    log: pino({ level: 'silent' }),
    metrics: createRequestMetrics(),
    traces: new RequestTraces(),
    stores: { sandboxes: { find: () => undefined }, containers: { find: () => undefined } },
    queue: new Semaphore(places),
  };
  const directory = mkdtempSync(join(tmpdir(), 'gantry-cri-'));
  const server = new Server();
  const none: Unary = async () => undefined;
  const { stop = none, exec = none } = handlers;
  server.addService(definition, {
    stopPodSandbox: unary(
      deps,
      'StopPodSandbox',
      async ({ podSandboxId }: { podSandboxId: string }, signal) => {
        await stop(podSandboxId, signal);
        return {};
      },
    ),
    execSync: unary(deps, 'ExecSync', async ({ containerId }: { containerId: string }, signal) => {
      await exec(containerId, signal);
      return { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode: 0 };
    }),
    streamPodSandboxes: serverStreaming(deps, 'StreamPodSandboxes', async function* (_request, signal) {
      for await (const id of handlers.stream?.(signal) ?? [])
        yield { podSandboxes: [{ ...emptySandbox, id }] };
    }),
  });
  const address = `unix://${directory}/socket`;
  const { promise, resolve } = Promise.withResolvers<void>();
  server.bindAsync(address, ServerCredentials.createInsecure(), () => resolve());
  await promise;
  const client = new (makeGenericClientConstructor(definition, 'Test'))(
    address,
    credentials.createInsecure(),
  );
  t.after(() => {
    client.close();
    server.forceShutdown();
    rmSync(directory, { recursive: true });
  });
  return {
    client,
    traces: deps.traces,
    stop: (id, timeoutMs) => call(client, definition.stopPodSandbox, { podSandboxId: id }, timeoutMs),
    exec: (id, timeoutMs) =>
      call(client, definition.execSync, { containerId: id, cmd: [], timeout: 0n }, timeoutMs),
  };
}

const emptySandbox = {
  id: '',
  metadata: undefined,
  state: 0,
  createdAt: 0n,
  labels: {},
  annotations: {},
  runtimeHandler: '',
};

function call<Req, Res>(
  client: Client,
  method: {
    readonly path: string;
    readonly requestSerialize: (request: Req) => Buffer;
    readonly responseDeserialize: (bytes: Buffer) => Res;
  },
  request: Req,
  timeoutMs = 10_000,
): { done: Promise<void>; cancel(): void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const options = { deadline: Date.now() + timeoutMs };
  const { path, requestSerialize, responseDeserialize } = method;
  const running = client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    new Metadata(),
    options,
    (error) => (error === null ? resolve() : reject(error)),
  );
  promise.catch(() => undefined);
  return { done: promise, cancel: () => running.cancel() };
}

/** Work that goes on until it is let go, and tells when it began. */
class Gate {
  readonly begun: string[] = [];
  readonly #waiting = new Map<string, () => void>();
  #onBegin = (): void => undefined;

  readonly pass = async (id: string): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.begun.push(id);
    this.#waiting.set(id, resolve);
    this.#onBegin();
    await promise;
  };

  open(id: string): void {
    this.#waiting.get(id)?.();
    this.#waiting.delete(id);
  }

  async untilBegun(count: number): Promise<void> {
    while (this.begun.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onBegin = resolve;
      await promise;
    }
  }
}

test('requests that change something run so many at once, the others in the order they came', async (t) => {
  const gate = new Gate();
  const face = await serve(t, { stop: gate.pass }, 2);
  const all: Promise<void>[] = [];
  for (const id of ['1', '2', '3', '4']) {
    all.push(face.stop(id).done);
    await gate.untilBegun(Math.min(2, all.length));
    // What stands in no line is answered meanwhile, and by then the one before has been received.
    await face.exec('meanwhile').done;
  }
  assert.deepEqual(gate.begun, ['1', '2']);
  for (const [index, id] of ['2', '1', '3', '4'].entries()) {
    gate.open(id);
    await gate.untilBegun(Math.min(4, index + 3));
    assert.ok(gate.begun.length <= index + 3);
  }
  await Promise.all(all);
  assert.deepEqual(gate.begun, ['1', '2', '3', '4']);
});

test('a client that leaves the line gives its place up, and its request is never begun', async (t) => {
  const gate = new Gate();
  const face = await serve(t, { stop: gate.pass }, 1);
  const first = face.stop('first');
  await gate.untilBegun(1);
  const leaving = face.stop('leaving');
  const late = face.stop('late', 200);
  const last = face.stop('last');
  await face.exec('meanwhile').done;
  leaving.cancel();
  await assert.rejects(leaving.done, { code: status.CANCELLED });
  await assert.rejects(late.done, { code: status.DEADLINE_EXCEEDED });
  await face.exec('meanwhile').done;
  gate.open('first');
  await gate.untilBegun(2);
  gate.open('last');
  await Promise.all([first.done, last.done]);
  assert.deepEqual(gate.begun, ['first', 'last']);
});

test('a failing request gives its place up, too', async (t) => {
  const stop = async (id: string): Promise<void> => {
    throw new EngineError('not-found', `there is no ${id}`);
  };
  const face = await serve(t, { stop }, 1);
  for (const id of ['a', 'b'])
    await assert.rejects(face.stop(id).done, { code: status.NOT_FOUND, details: `there is no ${id}` });
});

test('the deadline and the client’s leaving abort the signal, with the reason', async (t) => {
  const reasons: Promise<unknown>[] = [];
  const begun = new Gate();
  const exec = async (id: string, signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
    reasons.push(promise);
    void begun.pass(id);
    await promise;
    signal.throwIfAborted();
  };
  const face = await serve(t, { exec });
  await assert.rejects(face.exec('late', 100).done, { code: status.DEADLINE_EXCEEDED });
  const leaving = face.exec('leaving');
  await begun.untilBegun(2);
  leaving.cancel();
  await assert.rejects(leaving.done, { code: status.CANCELLED });
  const [late, left] = (await Promise.all(reasons)) as readonly (EngineError | undefined)[];
  assert.match(late?.kind ?? '', /^(?:deadline-exceeded|cancelled)$/);
  assert.equal(left?.kind, 'cancelled');
});

test('what is no error of the engine is INTERNAL with its message', async (t) => {
  const exec = async (): Promise<void> => {
    throw new RangeError('out of reach');
  };
  const face = await serve(t, { exec });
  await assert.rejects(face.exec('a').done, (error: ServiceError) => {
    assert.equal(error.code, status.INTERNAL);
    assert.match(error.details, /out of reach/);
    return true;
  });
});

test('a client that leaves a stream ends the iteration; one that does not read holds it back', async (t) => {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let made = 0;
  const stream = async function* (): AsyncIterable<string> {
    try {
      for (;;) {
        made += 1;
        yield 'x'.repeat(100_000);
      }
    } finally {
      end();
    }
  };
  const { client } = await serve(t, { stream });
  const { path, requestSerialize, responseDeserialize } = definition.streamPodSandboxes;
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {
    filter: undefined,
  });
  call.on('error', () => undefined);
  const reader = call[Symbol.asyncIterator]();
  await reader.next();
  for (let turns = 0; turns < 1000; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(made < 100, `${made} messages were made for a reader of one`);
  call.cancel();
  await ended;
});

/** The trace of each request that has ended, as its client has seen: the order of ends. */
function endedTraces({ traces }: Face, method: string): Trace[] {
  return traces.all().filter((trace) => trace.method === method && trace.code !== undefined);
}

test('phases belong to the request whose work they are, also when several run at once', async (t) => {
  const gate = new Gate();
  const stop: Unary = async (id) => {
    await phase(`first of ${id}`, async () => await phase(`inside ${id}`, async () => await gate.pass(id)));
    await phase(`second of ${id}`, () => undefined);
  };
  const face = await serve(t, { stop });
  const all = ['a', 'b'].map(async (id) => await face.stop(id).done);
  await gate.untilBegun(2);
  const open = face.traces.all().map(({ code, phases }) => [code, phases.at(-1)?.durationMs]);
  assert.deepEqual(open, [
    [undefined, undefined],
    [undefined, undefined],
  ]);
  gate.open('b');
  gate.open('a');
  await Promise.all(all);
  const ended = endedTraces(face, 'StopPodSandbox');
  const named = ended.map(({ phases }) =>
    phases.map(({ name, parent }) => `${name} in ${parent}`).join(', '),
  );
  assert.deepEqual(named.toSorted(), [
    'wait for a place in -1, first of a in -1, inside a in 1, second of a in -1',
    'wait for a place in -1, first of b in -1, inside b in 1, second of b in -1',
  ]);
  for (const { durationMs, phases } of ended)
    for (const one of phases) assert.ok((one.durationMs ?? NaN) + one.startMs <= durationMs);
});

test('a failed request shows its status, what its client was told, and the phase that failed', async (t) => {
  const exec: Unary = async () => {
    await phase('fine', () => undefined);
    await phase('around', async () => {
      await phase('bad', () => {
        throw new EngineError('unavailable', 'the network is away');
      });
    });
  };
  const face = await serve(t, { exec });
  await assert.rejects(face.exec('a').done, { code: status.UNAVAILABLE });
  const [trace] = endedTraces(face, 'ExecSync');
  assert.ok(trace);
  assert.deepEqual([trace.code, trace.error], ['UNAVAILABLE', 'the network is away']);
  const failed = trace.phases.filter(({ hasFailed }) => hasFailed).map(({ name }) => name);
  assert.deepEqual(failed, ['around', 'bad']);
});

test('a traceparent is joined; a broken one is not', async (t) => {
  const face = await serve(t, {});
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  for (const header of [`00-${traceId}-00f067aa0ba902b7-01`, 'nonsense']) {
    const metadata = new Metadata();
    metadata.set('traceparent', header);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { path, requestSerialize, responseDeserialize } = definition.stopPodSandbox;
    const request = { podSandboxId: 'a' };
    face.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error) =>
      error === null ? resolve() : reject(error),
    );
    await promise;
  }
  const [joined, own] = endedTraces(face, 'StopPodSandbox');
  assert.equal(joined?.traceId, traceId);
  assert.deepEqual(joined.parent, { traceId, spanId: '00f067aa0ba902b7', isSampled: true });
  assert.match(own?.traceId ?? '', /^[0-9a-f]{32}$/);
  assert.notEqual(own?.traceId, traceId);
  assert.equal(own?.parent, undefined);
});
