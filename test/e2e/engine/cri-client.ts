/**
 * A CRI client on proto-loader: another codec than the daemon's generated one, so that a mistake in that one shows.
 * Fields are in camel case, 64-bit integers decimal strings, enums their names, absent messages null.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import {
  type Client,
  credentials,
  loadPackageDefinition,
  type MethodDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { criSocket } from './daemon.ts';

const protoFile = join(import.meta.dirname, '../../../proto/runtime/v1/api.proto');
const serviceNames = ['runtime.v1.RuntimeService', 'runtime.v1.ImageService'] as const;
const maxMessageBytes = 16 * 1024 * 1024;
const defaultTimeoutMs = 120_000;

/** A request as plain JSON; bytes are Buffers. */
export type WireRequest = Readonly<Record<string, unknown>>;

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Method {
  readonly client: Client;
  readonly definition: MethodDefinition<object, object>;
}

export class CriClient implements Disposable {
  readonly #clients: Client[] = [];
  readonly #methods = new Map<string, Method>();

  constructor(socket: string = criSocket) {
    const definitions = loadSync(protoFile, { longs: String, enums: String, defaults: true });
    const grpc = loadPackageDefinition(definitions) as unknown as {
      readonly runtime: { readonly v1: Readonly<Record<string, ServiceClientConstructor>> };
    };
    for (const name of serviceNames) {
      const constructor = grpc.runtime.v1[name.slice('runtime.v1.'.length)];
      assert.ok(constructor);
      const client = new constructor(`unix://${socket}`, credentials.createInsecure(), {
        'grpc.max_receive_message_length': maxMessageBytes,
        'grpc.max_send_message_length': maxMessageBytes,
      });
      this.#clients.push(client);
      for (const definition of Object.values(constructor.service)) {
        const method = definition.path.slice(definition.path.lastIndexOf('/') + 1);
        this.#methods.set(method, { client, definition });
      }
    }
  }

  /** Every method of both services as the proto file has them. */
  methods(): readonly { readonly name: string; readonly isStream: boolean }[] {
    return [...this.#methods].map(([name, { definition }]) => ({
      name,
      isStream: definition.responseStream,
    }));
  }

  /** One answer. @throws ServiceError of grpc-js */
  async call<Res>(name: string, request: WireRequest = {}, options: CallOptions = {}): Promise<Res> {
    const { client, definition } = this.#method(name);
    const { promise, resolve, reject } = Promise.withResolvers<Res>();
    const call = client.makeUnaryRequest<object, object>(
      definition.path,
      (value) => definition.requestSerialize(value),
      (bytes) => definition.responseDeserialize(bytes),
      request,
      new Metadata(),
      { deadline: Date.now() + (options.timeoutMs ?? defaultTimeoutMs) },
      (error, response) => (error === null ? resolve(response as Res) : reject(error)),
    );
    options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    return await promise;
  }

  /** The messages of a streaming RPC; leaving the loop cancels it. */
  async *stream<Res>(
    name: string,
    request: WireRequest = {},
    options: CallOptions = {},
  ): AsyncGenerator<Res, void> {
    const { client, definition } = this.#method(name);
    const call = client.makeServerStreamRequest<object, object>(
      definition.path,
      (value) => definition.requestSerialize(value),
      (bytes) => definition.responseDeserialize(bytes),
      request,
      new Metadata(),
      { deadline: Date.now() + (options.timeoutMs ?? defaultTimeoutMs) },
    );
    options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    try {
      for await (const message of call) yield message as Res;
    } finally {
      call.on('error', () => undefined);
      call.cancel();
    }
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client.close();
  }

  #method(name: string): Method {
    const method = this.#methods.get(name);
    assert.ok(method, `the proto file has no method ${name}`);
    return method;
  }
}

/** The whole of a streamed list. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}

/** Asserts that a call fails with this status (`NOT_FOUND`) and that its message matches. */
export async function rejectsWith(
  promise: Promise<unknown>,
  code: keyof typeof status,
  details: RegExp,
): Promise<void> {
  await assert.rejects(promise, (error: ServiceError) => {
    assert.equal(status[error.code], code, error.details);
    assert.match(error.details, details);
    return true;
  });
}

/** The status of a call with nothing in it; OK for a stream that says something, or nothing for a while. */
export async function codeOfEmpty(cri: CriClient, name: string, isStream: boolean): Promise<status> {
  const call = async (): Promise<unknown> => {
    if (!isStream) return await cri.call(name);
    return await cri.stream(name, {}, { timeoutMs: 1500 }).next();
  };
  return await call().then(
    () => status.OK,
    (error: ServiceError) => (isStream && error.code === status.DEADLINE_EXCEEDED ? status.OK : error.code),
  );
}
