/**
 * A CRI client that stays out of the way: requests are encoded before the clock starts, and answers are taken as bytes, which are decoded
 * afterwards and only where something in them is wanted.
 */
import { join } from 'node:path';
import {
  Client,
  credentials,
  loadPackageDefinition,
  type MethodDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const protoFile = join(import.meta.dirname, '../../../proto/runtime/v1/api.proto');
const timeoutMs = 600_000;
/** As the kubelet allows. */
const maxMessageBytes = 16 * 1024 * 1024;

type Codec = MethodDefinition<object, object>;

/** A call that only has to be sent. */
export interface PreparedCall {
  readonly path: string;
  readonly bytes: Buffer;
}

export interface TimedAnswer {
  readonly durationMs: number;
  readonly bytes: Buffer;
}

const codecs = readCodecs();

export class CriConnection implements Disposable {
  readonly #client: Client;

  constructor(socket: string) {
    this.#client = new Client(`unix://${socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
    });
  }

  /** @throws ServiceError of grpc-js */
  async send({ path, bytes }: PreparedCall): Promise<TimedAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<TimedAnswer>();
    const startedAt = performance.now();
    this.#client.makeUnaryRequest<Buffer, Buffer>(
      path,
      (buffer) => buffer,
      (buffer) => buffer,
      bytes,
      { deadline: Date.now() + timeoutMs },
      (error, answer) => {
        const durationMs = performance.now() - startedAt;
        if (error === null) resolve({ durationMs, bytes: answer ?? Buffer.alloc(0) });
        else reject(error);
      },
    );
    return await promise;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** `method` as the proto file has it, `request` in camel case. */
export function prepare(method: string, request: object = {}): PreparedCall {
  const codec = codecOf(method);
  return { path: codec.path, bytes: codec.requestSerialize(request) };
}

/** The message in an answer. */
export function decode<T>(method: string, { bytes }: TimedAnswer): T {
  return codecOf(method).responseDeserialize(bytes) as T;
}

function codecOf(method: string): Codec {
  const codec = codecs.get(method);
  if (codec === undefined) throw new Error(`the CRI has no method ${method}`);
  return codec;
}

function readCodecs(): ReadonlyMap<string, Codec> {
  const definitions = loadSync(protoFile, { longs: String, enums: String, defaults: true });
  const { runtime } = loadPackageDefinition(definitions) as unknown as {
    readonly runtime: { readonly v1: Readonly<Record<string, ServiceClientConstructor>> };
  };
  const methods = ['RuntimeService', 'ImageService'].flatMap((name) =>
    Object.values(runtime.v1[name]?.service ?? {}),
  );
  return new Map(methods.map((codec) => [codec.path.slice(codec.path.lastIndexOf('/') + 1), codec]));
}
