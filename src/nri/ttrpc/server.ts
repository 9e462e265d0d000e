import { Request, Response } from '../../gen/ttrpc/ttrpc.ts';
import { EngineError, isKind, messageOf } from '../../lib/errors.ts';
import { Assembler } from './assembler.ts';
import {
  encodeFrame,
  frameOf,
  frameShape,
  remoteOpenFlag,
  requestType,
  responseType,
  type Frame,
} from './frame.ts';
import { RemoteError, statusCode } from './status.ts';

/** Decodes a request, does what it asks and encodes the answer. */
export type TtrpcMethod = (payload: Uint8Array) => Promise<Uint8Array>;

/** One that asks without waiting for answers is told to wait. */
const maxConcurrentCalls = 16;
const maxErrorChars = 64 * 1024;

/** The answering side of one ttrpc connection: unary methods, by `service/method`. */
export class TtrpcServer {
  readonly #send: (bytes: Buffer) => void;
  readonly #methods: ReadonlyMap<string, TtrpcMethod>;
  readonly #frames = new Assembler(frameShape);
  #running = 0;

  constructor(send: (bytes: Buffer) => void, methods: ReadonlyMap<string, TtrpcMethod>) {
    this.#send = send;
    this.#methods = methods;
  }

  /** Takes what came in. @throws EngineError invalid-argument when it is not ttrpc: the connection is of no use then */
  receive(bytes: Buffer): void {
    for (const message of this.#frames.push(bytes)) {
      const frame = frameOf(message);
      if (frame.type !== requestType)
        throw new EngineError('invalid-argument', `ttrpc message of type ${frame.type} where a call belongs`);
      void this.#answer(frame);
    }
  }

  async #answer(frame: Frame): Promise<void> {
    this.#running += 1;
    try {
      if (this.#running > maxConcurrentCalls)
        throw new RemoteError(statusCode.resourceExhausted, `${maxConcurrentCalls} calls are under way`);
      this.#reply(frame.stream, { status: undefined, payload: await this.#run(frame) });
    } catch (error) {
      const message = messageOf(error).slice(0, maxErrorChars);
      this.#reply(frame.stream, { status: { code: codeOf(error), message }, payload: new Uint8Array() });
    } finally {
      this.#running -= 1;
    }
  }

  #reply(stream: number, response: Response): void {
    const data = Response.encode(response).finish();
    this.#send(encodeFrame({ stream, type: responseType, flags: 0, data }));
  }

  async #run({ flags, data }: Frame): Promise<Uint8Array> {
    if ((flags & remoteOpenFlag) !== 0)
      throw new RemoteError(statusCode.unimplemented, 'streams are not served');
    const request = Request.decode(data);
    const name = `${request.service}/${request.method}`;
    const method = this.#methods.get(name);
    if (method === undefined) throw new RemoteError(statusCode.unimplemented, `${name} is not served`);
    return await method(request.payload);
  }
}

function codeOf(error: unknown): number {
  if (error instanceof RemoteError) return error.code;
  return isKind(error, 'invalid-argument') ? statusCode.invalidArgument : statusCode.unknown;
}
