import type { Socket } from 'node:net';
import {
  PluginDefinition,
  type RegisterPluginRequest,
  RuntimeDefinition,
  type UpdateContainersRequest,
  type UpdateContainersResponse,
} from '../gen/nri/v1alpha1/api.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { Demux, muxPieces, pluginServiceId, runtimeServiceId } from './mux.ts';
import { TtrpcClient } from './ttrpc/client.ts';
import { TtrpcServer, type TtrpcMethod } from './ttrpc/server.ts';

type PluginMethods = typeof PluginDefinition.methods;
export type PluginMethod = keyof PluginMethods;
type MessageOf<Codec> = Codec extends { decode(bytes: Uint8Array): infer Message } ? Message : never;
export type PluginRequest<M extends PluginMethod> = MessageOf<PluginMethods[M]['requestType']>;
export type PluginResponse<M extends PluginMethod> = MessageOf<PluginMethods[M]['responseType']>;

/** What a plugin may ask of us. */
export interface RuntimeService {
  registerPlugin(request: RegisterPluginRequest): void;
  updateContainers(request: UpdateContainersRequest): Promise<UpdateContainersResponse>;
}

/** The connection to one plugin: calls in both directions over one socket. It ends once, for one reason. */
export class PluginConnection {
  readonly #socket: Socket;
  readonly #client: TtrpcClient;
  readonly #ended = Promise.withResolvers<string>();
  #reason: string | undefined;

  constructor(socket: Socket, service: RuntimeService) {
    this.#socket = socket;
    this.#client = new TtrpcClient((bytes) => this.#send(pluginServiceId, bytes));
    const server = new TtrpcServer((bytes) => this.#send(runtimeServiceId, bytes), runtimeMethods(service));
    const demux = new Demux(
      new Map([
        [pluginServiceId, (bytes) => this.#client.receive(bytes)],
        [runtimeServiceId, (bytes) => server.receive(bytes)],
      ]),
    );
    socket.on('data', (chunk: Buffer) => this.#receive(demux, chunk));
    socket.on('error', (error) => this.close(messageOf(error)));
    socket.on('close', () => this.close('the plugin closed the connection'));
  }

  /** Settles with the reason when the connection has ended. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  /** Ends the connection; calls under way fail. The first reason stays. */
  close(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#client.close(new EngineError('unavailable', reason));
    this.#socket.destroy();
    this.#ended.resolve(reason);
  }

  /** @throws what TtrpcClient.call throws, EngineError invalid-argument for an answer that is not the message it should be */
  async call<M extends PluginMethod>(
    method: M,
    request: PluginRequest<M>,
    timeoutMs: number,
  ): Promise<PluginResponse<M>> {
    const { name, requestType, responseType } = PluginDefinition.methods[method];
    const codec = requestType as { encode(message: PluginRequest<M>): { finish(): Uint8Array } };
    const payload = await this.#client.call({
      service: PluginDefinition.fullName,
      method: name,
      payload: codec.encode(request).finish(),
      timeoutMs,
    });
    return decoded(name, () => responseType.decode(payload) as PluginResponse<M>);
  }

  #send(id: number, bytes: Buffer): void {
    if (!this.isOpen) return;
    this.#socket.cork();
    for (const piece of muxPieces(id, bytes)) this.#socket.write(piece);
    this.#socket.uncork();
  }

  #receive(demux: Demux, chunk: Buffer): void {
    if (!this.isOpen) return;
    try {
      demux.push(chunk);
    } catch (error) {
      this.close(`it does not speak the protocol: ${messageOf(error)}`);
    }
  }
}

function runtimeMethods(service: RuntimeService): ReadonlyMap<string, TtrpcMethod> {
  const { fullName, methods } = RuntimeDefinition;
  const { registerPlugin, updateContainers } = methods;
  return new Map<string, TtrpcMethod>([
    [
      `${fullName}/${registerPlugin.name}`,
      async (payload) => {
        service.registerPlugin(
          decoded(registerPlugin.name, () => registerPlugin.requestType.decode(payload)),
        );
        return new Uint8Array();
      },
    ],
    [
      `${fullName}/${updateContainers.name}`,
      async (payload) => {
        const { name, requestType, responseType } = updateContainers;
        const response = await service.updateContainers(decoded(name, () => requestType.decode(payload)));
        return responseType.encode(response).finish();
      },
    ],
  ]);
}

function decoded<T>(method: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    const text = `${method}: a message cannot be decoded: ${messageOf(error)}`;
    throw new EngineError('invalid-argument', text, { cause: error });
  }
}
