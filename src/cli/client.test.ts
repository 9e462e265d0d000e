import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Server, ServerCredentials, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { RuntimeServiceService } from '../gen/runtime/v1/api.ts';
import { openCri, type Cri } from './client.ts';

function socketPath(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-client-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, 'cri.sock');
}

async function serve(t: TestContext, handlers: Readonly<Record<string, unknown>>): Promise<Cri> {
  const path = socketPath(t);
  const server = new Server();
  const names = Object.keys(handlers) as (keyof typeof RuntimeServiceService)[];
  const service = Object.fromEntries(names.map((name) => [name, RuntimeServiceService[name]]));
  server.addService(service, handlers as UntypedServiceImplementation);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
    error === null ? resolve() : reject(error),
  );
  await promise;
  t.after(() => server.forceShutdown());
  const cri = await openCri(path);
  t.after(() => cri[Symbol.dispose]());
  return cri;
}

interface AnyCall {
  readonly request: { readonly podSandboxId: string; readonly verbose: boolean };
  on(event: 'cancelled', listener: () => void): void;
  write(message: object): void;
  end(): void;
}
type Callback = (error: object | null, response?: object) => void;

test('fields that are left out have the protocol’s zero values', async (t) => {
  const { runtime } = await serve(t, {
    podSandboxStatus: ({ request }: AnyCall, callback: Callback) =>
      callback(null, {
        info: { ...request, verbose: String(request.verbose) },
        containersStatuses: [],
        timestamp: 7n,
      }),
  });
  const answer = await runtime.podSandboxStatus({ podSandboxId: 'x' });
  assert.deepEqual(answer.info, { podSandboxId: 'x', verbose: 'false' });
  assert.equal(answer.timestamp, 7n);
});

test('the daemon’s words and kind of error arrive', async (t) => {
  const { runtime } = await serve(t, {
    stopPodSandbox: (_call: AnyCall, callback: Callback) =>
      callback({ code: status.NOT_FOUND, details: 'no such pod' }),
  });
  await assert.rejects(runtime.stopPodSandbox({ podSandboxId: 'x' }), {
    kind: 'not-found',
    message: 'no such pod',
  });
});

test('a daemon that does not answer is not waited for, and told so', async (t) => {
  const cancelled = Promise.withResolvers<void>();
  const { runtime } = await serve(t, { version: (call: AnyCall) => call.on('cancelled', cancelled.resolve) });
  await assert.rejects(runtime.version({}, { timeoutMs: 20 }), {
    kind: 'deadline-exceeded',
    message: 'gantryd did not answer Version in time',
  });
  await cancelled.promise;
});

test('a signal cancels a call and is its reason', async (t) => {
  const cancelled = Promise.withResolvers<void>();
  const controller = new AbortController();
  const { runtime } = await serve(t, {
    version: (call: AnyCall) => {
      call.on('cancelled', cancelled.resolve);
      controller.abort(new Error('enough'));
    },
  });
  await assert.rejects(runtime.version({}, { signal: controller.signal }), { message: 'enough' });
  await cancelled.promise;
});

test('a stream gives its messages, and leaving it cancels it', async (t) => {
  const cancelled = Promise.withResolvers<void>();
  const { runtime } = await serve(t, {
    getContainerEvents: (call: AnyCall) => {
      call.on('cancelled', cancelled.resolve);
      for (const containerId of ['a', 'b'])
        call.write({ containerId, containerEventType: 0, createdAt: 1n, containersStatuses: [] });
    },
  });
  const ids: string[] = [];
  for await (const { containerId } of runtime.getContainerEvents()) if (ids.push(containerId) === 2) break;
  assert.deepEqual(ids, ['a', 'b']);
  await cancelled.promise;
});

test('without a daemon the error says what to do', async (t) => {
  const path = socketPath(t);
  await assert.rejects(openCri(path), {
    message: `no daemon at ${path}: start gantryd, or name its socket with --socket or GANTRY_SOCKET`,
  });
  await assert.rejects(openCri('/etc/hostname'), {
    kind: 'unavailable',
    message: /^nothing listens on \/etc\/hostname/,
  });
});

test('a socket that something else serves gives one plain error', async (t) => {
  const path = socketPath(t);
  const server = createServer((socket) => socket.on('error', () => socket.destroy()).end('not gRPC\n'));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  using cri = await openCri(path);
  await assert.rejects(cri.runtime.version(), {
    kind: 'unavailable',
    message: /^the connection to gantryd broke during Version/,
  });
});
