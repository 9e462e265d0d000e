import { Request, Response } from '../../gen/ttrpc/ttrpc.ts';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { Assembler } from './assembler.ts';
import { encodeFrame, frameOf, frameShape, requestType, responseType } from './frame.ts';
import { RemoteError, statusCode } from './status.ts';

export interface TtrpcCall {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  readonly timeoutMs: number;
}

interface Pending {
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** The calling side of one ttrpc connection. What carries the bytes hands them to `receive` and takes them by `send`. */
export class TtrpcClient {
  readonly #send: (bytes: Buffer) => void;
  readonly #frames = new Assembler(frameShape);
  readonly #pending = new Map<number, Pending>();
  #nextStream = 1;
  #closed: Error | undefined;

  constructor(send: (bytes: Buffer) => void) {
    this.#send = send;
  }

  /**
   * Calls a method and gives the payload of its answer.
   *
   * @throws RemoteError with the other side's words, EngineError deadline-exceeded, unavailable when the connection has
   * ended, resource-exhausted for a request that is too long
   */
  async call({ service, method, payload, timeoutMs }: TtrpcCall): Promise<Uint8Array> {
    if (this.#closed !== undefined) throw this.#closed;
    const stream = this.#nextStream;
    const timeoutNano = BigInt(Math.round(timeoutMs)) * 1_000_000n;
    const data = Request.encode({ service, method, payload, timeoutNano, metadata: [] }).finish();
    const bytes = encodeFrame({ stream, type: requestType, flags: 0, data });
    // Streams of the calling side have odd numbers that only grow.
    this.#nextStream += 2;
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    this.#pending.set(stream, { resolve, reject });
    const timer = setTimeout(
      () => reject(new EngineError('deadline-exceeded', `${method}: no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      this.#send(bytes);
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(stream);
    }
  }

  /** Takes what came in. @throws EngineError invalid-argument when it is not ttrpc: the connection is of no use then */
  receive(bytes: Buffer): void {
    for (const message of this.#frames.push(bytes)) {
      const { stream, type, data } = frameOf(message);
      if (type !== responseType)
        throw new EngineError('invalid-argument', `ttrpc message of type ${type} where an answer belongs`);
      // An answer that came too late has nobody who waits for it.
      const pending = this.#pending.get(stream);
      if (pending !== undefined) settle(pending, data);
    }
  }

  /** Fails every call, those under way and those to come. */
  close(reason: Error): void {
    this.#closed ??= reason;
    for (const { reject } of this.#pending.values()) reject(reason);
  }
}

function settle({ resolve, reject }: Pending, data: Uint8Array): void {
  let response: Response;
  try {
    response = Response.decode(data);
  } catch (error) {
    const text = `the answer cannot be decoded: ${messageOf(error)}`;
    reject(new EngineError('invalid-argument', text, { cause: error }));
    return;
  }
  const { status, payload } = response;
  if (status === undefined || status.code === statusCode.ok) resolve(payload);
  else reject(new RemoteError(status.code, status.message));
}
