/** The CRI as promises and async iterations, over the daemon's unix socket. */
import { connect } from 'node:net';
import { Client, credentials, Metadata, status, type ClientReadableStream } from '@grpc/grpc-js';
import { TraceServiceService } from '../gen/gantry/v1/traces.ts';
import { ImageServiceService, RuntimeServiceService } from '../gen/runtime/v1/api.ts';
import { EngineError, errnoOf, messageOf, type ErrorKind } from '../lib/errors.ts';

interface CallOptions {
  /** 2 minutes by default; Infinity waits as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

interface Definition<Req, Res> {
  readonly path: string;
  readonly requestSerialize: (value: Req) => Buffer;
  readonly requestDeserialize: (value: Buffer) => Req;
  readonly responseDeserialize: (value: Buffer) => Res;
}

/** An RPC: fields that the request leaves out have the protocol's zero values. */
type Method<D> =
  D extends Definition<infer Req, infer Res>
    ? D extends { readonly responseStream: true }
      ? (request?: Partial<Req>, options?: Pick<CallOptions, 'signal'>) => AsyncIterable<Res>
      : (request?: Partial<Req>, options?: CallOptions) => Promise<Res>
    : never;

type Service<S> = { readonly [Name in keyof S]: Method<S[Name]> };

/** Both services of the CRI, and the engine's own, of one daemon. */
export interface Cri extends Disposable {
  readonly runtime: Service<typeof RuntimeServiceService>;
  readonly images: Service<typeof ImageServiceService>;
  readonly traces: Service<typeof TraceServiceService>;
}

const defaultTimeoutMs = 120_000;
/** The daemon's own limit. */
const maxMessageBytes = 16 * 1024 * 1024;

/** @throws EngineError unavailable or permission-denied that says what to do, when no daemon can be talked to */
export async function openCri(socketPath: string): Promise<Cri> {
  await checkSocket(socketPath);
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  });
  return {
    runtime: promisify(client, RuntimeServiceService) as Cri['runtime'],
    images: promisify(client, ImageServiceService) as Cri['images'],
    traces: promisify(client, TraceServiceService) as Cri['traces'],
    [Symbol.dispose]: () => client.close(),
  };
}

type AnyDefinition = Definition<object, object> & { readonly responseStream: boolean };

function promisify(client: Client, service: object): object {
  const definitions = Object.entries(service) as [string, AnyDefinition][];
  return Object.fromEntries(
    definitions.map(([name, definition]) => [
      name,
      definition.responseStream
        ? (request?: object, options?: CallOptions) => callStream({ client, definition }, request, options)
        : async (request?: object, options?: CallOptions) =>
            await callUnary({ client, definition }, request, options),
    ]),
  );
}

interface Call {
  readonly client: Client;
  readonly definition: AnyDefinition;
}

function complete({ definition }: Call, request: object | undefined): object {
  return { ...definition.requestDeserialize(Buffer.alloc(0)), ...request };
}

async function callUnary(call: Call, request?: object, options: CallOptions = {}): Promise<object> {
  const { timeoutMs = defaultTimeoutMs, signal } = options;
  signal?.throwIfAborted();
  const { path, requestSerialize, responseDeserialize } = call.definition;
  const { promise, resolve, reject } = Promise.withResolvers<object>();
  const running = call.client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    complete(call, request),
    new Metadata(),
    timeoutMs === Infinity ? {} : { deadline: Date.now() + timeoutMs },
    (error, response) =>
      error === null && response !== undefined ? resolve(response) : reject(toEngineError(path, error)),
  );
  const cancel = (): void => running.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await promise;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

async function* callStream(
  call: Call,
  request?: object,
  { signal }: CallOptions = {},
): AsyncGenerator<object> {
  signal?.throwIfAborted();
  const { path, requestSerialize, responseDeserialize } = call.definition;
  const stream: ClientReadableStream<object> = call.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    complete(call, request),
  );
  const cancel = (): void => stream.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const response of stream as AsyncIterable<object>) yield response;
  } catch (error) {
    signal?.throwIfAborted();
    throw toEngineError(path, error);
  } finally {
    signal?.removeEventListener('abort', cancel);
    stream.cancel();
  }
}

const kinds: Readonly<Record<number, ErrorKind>> = {
  [status.CANCELLED]: 'cancelled',
  [status.INVALID_ARGUMENT]: 'invalid-argument',
  [status.DEADLINE_EXCEEDED]: 'deadline-exceeded',
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'already-exists',
  [status.PERMISSION_DENIED]: 'permission-denied',
  [status.RESOURCE_EXHAUSTED]: 'resource-exhausted',
  [status.FAILED_PRECONDITION]: 'failed-precondition',
  [status.UNIMPLEMENTED]: 'unimplemented',
  [status.UNAVAILABLE]: 'unavailable',
  [status.DATA_LOSS]: 'data-loss',
  [status.UNAUTHENTICATED]: 'unauthenticated',
};

function toEngineError(path: string, cause: unknown): EngineError {
  const { code, details } = (cause ?? {}) as { readonly code?: number; readonly details?: string };
  const method = path.slice(path.lastIndexOf('/') + 1);
  const kind = kinds[code ?? status.UNKNOWN] ?? 'internal';
  if (kind === 'unavailable')
    return new EngineError(kind, `the connection to gantryd broke during ${method}: see its log`, { cause });
  if (kind === 'deadline-exceeded' && (details ?? '').startsWith('Deadline exceeded'))
    return new EngineError(kind, `gantryd did not answer ${method} in time`, { cause });
  return new EngineError(kind, details === undefined || details === '' ? messageOf(cause) : details, {
    cause,
  });
}

/** gRPC wraps and retries what the socket says: asking the socket first gives a plain answer at once. */
async function checkSocket(path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect(path, resolve);
  socket.once('error', reject);
  try {
    await promise;
  } catch (error) {
    throw socketError(path, error);
  } finally {
    socket.destroy();
  }
}

function socketError(path: string, cause: unknown): EngineError {
  switch (errnoOf(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new EngineError(
        'unavailable',
        `no daemon at ${path}: start gantryd, or name its socket with --socket or GANTRY_SOCKET`,
        { cause },
      );
    case 'ECONNREFUSED':
    case 'ENOTSOCK':
      return new EngineError(
        'unavailable',
        `nothing listens on ${path}: gantryd has ended, start it again (its log says why it ended)`,
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
      return new EngineError(
        'permission-denied',
        `not permitted to open ${path}: run as root (sudo gantry ...)`,
        {
          cause,
        },
      );
    default:
      return new EngineError('unavailable', `cannot connect to ${path}: ${messageOf(cause)}`, { cause });
  }
}
