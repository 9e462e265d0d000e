/** The plugins' side of the protocol, for tests: what it answers is given, what it was told is kept. */
import { connect, type Socket } from 'node:net';
import {
  PluginDefinition,
  RegisterPluginRequest,
  RuntimeDefinition,
  UpdateContainersRequest,
  UpdateContainersResponse,
} from '../../gen/nri/v1alpha1/api.ts';
import type { PluginMethod, PluginRequest, PluginResponse } from '../connection.ts';
import { Demux, muxPieces, pluginServiceId, runtimeServiceId } from '../mux.ts';
import { TtrpcClient } from '../ttrpc/client.ts';
import { TtrpcServer, type TtrpcMethod } from '../ttrpc/server.ts';

/** What a test plugin answers to which call; bytes go as they are, and a call that is left out is not implemented. */
export type Answers = {
  readonly [M in PluginMethod]?: (
    request: PluginRequest<M>,
  ) => Promise<PluginResponse<M>> | PluginResponse<M> | Uint8Array;
};

const timeoutMs = 10_000;

export class TestPlugin implements Disposable {
  readonly socket: Socket;
  /** The calls so far, in order. */
  readonly told: string[] = [];
  readonly #client: TtrpcClient;

  constructor(path: string, answers: Answers) {
    this.socket = connect(path);
    const send = (id: number, message: Buffer): void => {
      for (const piece of muxPieces(id, message)) this.socket.write(piece);
    };
    this.#client = new TtrpcClient((message) => send(runtimeServiceId, message));
    const methods = Object.entries(answers).map(([name, answer]) =>
      this.#method(name as PluginMethod, answer),
    );
    const server = new TtrpcServer((message) => send(pluginServiceId, message), new Map(methods));
    const demux = new Demux(
      new Map([
        [pluginServiceId, (bytes: Buffer) => server.receive(bytes)],
        [runtimeServiceId, (bytes: Buffer) => this.#client.receive(bytes)],
      ]),
    );
    this.socket.on('data', (chunk: Buffer) => demux.push(chunk));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => this.#client.close(new Error('the engine closed the connection')));
  }

  async register(index: string, name: string): Promise<void> {
    const request = RegisterPluginRequest.fromPartial({ pluginIdx: index, pluginName: name });
    await this.#call(
      RuntimeDefinition.methods.registerPlugin.name,
      RegisterPluginRequest.encode(request).finish(),
    );
  }

  async updateContainers(request: UpdateContainersRequest): Promise<UpdateContainersResponse> {
    const payload = UpdateContainersRequest.encode(request).finish();
    return UpdateContainersResponse.decode(await this.#call('UpdateContainers', payload));
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  async #call(method: string, payload: Uint8Array): Promise<Uint8Array> {
    return await this.#client.call({ service: RuntimeDefinition.fullName, method, payload, timeoutMs });
  }

  #method<M extends PluginMethod>(method: M, answer: unknown): [string, TtrpcMethod] {
    const { name, requestType, responseType } = PluginDefinition.methods[method];
    const codec = responseType as { encode(message: PluginResponse<M>): { finish(): Uint8Array } };
    const run = answer as (request: PluginRequest<M>) => Promise<PluginResponse<M> | Uint8Array>;
    return [
      `${PluginDefinition.fullName}/${name}`,
      async (payload) => {
        this.told.push(method);
        const answered = await run(requestType.decode(payload) as PluginRequest<M>);
        return answered instanceof Uint8Array ? answered : codec.encode(answered).finish();
      },
    ];
  }
}
