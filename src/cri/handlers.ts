/** The shape of a face's handlers, taken from the generated service: an RPC without one does not compile. */
import type { imageService, runtimeService } from './services.ts';
import type { StreamingHandler, UnaryHandler } from './interceptor.ts';

type HandlerOf<Definition> = Definition extends {
  readonly responseStream: infer IsStream;
  readonly requestDeserialize: (bytes: Buffer) => infer Req;
  readonly responseSerialize: (response: infer Res) => Buffer;
}
  ? IsStream extends true
    ? StreamingHandler<Req, Res>
    : UnaryHandler<Req, Res>
  : never;

export type HandlersOf<Service> = { readonly [Method in keyof Service]: HandlerOf<Service[Method]> };

export type RuntimeHandlers = HandlersOf<typeof runtimeService>;
export type ImageHandlers = HandlersOf<typeof imageService>;
