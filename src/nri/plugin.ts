import type { Container, Event, PodSandbox } from '../gen/nri/v1alpha1/api.ts';
import { EngineError, isKind, messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { phase } from '../telemetry/traces/phase.ts';
import type { PluginConnection, PluginMethod, PluginRequest, PluginResponse } from './connection.ts';
import { eventNumbers, isSubscribed, type PluginEvent } from './events.ts';
import { RemoteError, statusCode } from './ttrpc/status.ts';

export interface PluginOptions {
  /** Two digits: plugins are called in their order. */
  readonly index: string;
  readonly name: string;
  readonly subscription: number;
  readonly connection: PluginConnection;
  readonly requestTimeoutMs: number;
  readonly log: Log;
  /** It did not answer in time, and is disconnected. */
  readonly onHang: () => void;
}

const maxReasonChars = 1000;

/** A plugin that has registered and has been configured. */
export class Plugin {
  readonly index: string;
  readonly name: string;
  /** As the log, errors and other plugins know it. */
  readonly label: string;
  readonly #options: PluginOptions;
  readonly #synchronized = Promise.withResolvers<void>();
  /** Calls that it does not know, as an older one may: those go by StateChange, or nowhere. */
  readonly #unimplemented = new Set<PluginEvent>();

  constructor(options: PluginOptions) {
    this.#options = options;
    this.index = options.index;
    this.name = options.name;
    this.label = `${options.index}-${options.name}`;
    void options.connection.ended.then(() => this.#synchronized.resolve());
  }

  get isOpen(): boolean {
    return this.#options.connection.isOpen;
  }

  /** It has been told what exists: events may follow. */
  synchronized(): void {
    this.#synchronized.resolve();
  }

  listensTo(event: PluginEvent): boolean {
    return this.isOpen && isSubscribed(this.#options.subscription, event);
  }

  close(reason: string): void {
    this.#options.connection.close(reason);
  }

  /** Any call, without regard to its subscription. @throws what PluginConnection.call throws */
  async call<M extends PluginMethod>(
    method: M,
    request: PluginRequest<M>,
    timeoutMs: number = this.#options.requestTimeoutMs,
  ): Promise<PluginResponse<M>> {
    return await this.#options.connection.call(method, request, timeoutMs);
  }

  /**
   * Tells it of an event, once it knows what existed before. One that hangs, dies or talks nonsense is disconnected, and
   * the event goes on without it: undefined, as for one that does not listen.
   *
   * @throws EngineError failed-precondition when the plugin refuses, with its own words
   */
  async deliver<E extends PluginEvent>(
    event: E,
    request: PluginRequest<E>,
  ): Promise<PluginResponse<E> | undefined> {
    if (!this.listensTo(event)) return undefined;
    return await phase(`NRI plugin ${this.label}`, async () => await this.#deliver(event, request));
  }

  async #deliver<E extends PluginEvent>(
    event: E,
    request: PluginRequest<E>,
  ): Promise<PluginResponse<E> | undefined> {
    await this.#synchronized.promise;
    if (!this.isOpen || this.#unimplemented.has(event)) return await this.#deliverAsState(event, request);
    try {
      return await this.call(event, request);
    } catch (error) {
      if (!(error instanceof RemoteError)) return this.#lost(event, error);
      if (error.code !== statusCode.unimplemented) throw this.refusal(event, error.message);
      this.#unimplemented.add(event);
      return await this.#deliverAsState(event, request);
    }
  }

  /** The error of a request that this plugin does not let pass. */
  refusal(event: PluginEvent, reason: string): EngineError {
    const words = reason.slice(0, maxReasonChars);
    return new EngineError('failed-precondition', `NRI plugin ${this.label} refused ${event}: ${words}`);
  }

  /** Before NRI 0.12 one call told of all events without an answer. */
  async #deliverAsState<E extends PluginEvent>(event: E, request: PluginRequest<E>): Promise<undefined> {
    if (!this.isOpen || !isNotice(event)) return undefined;
    const { pod, container } = request as { readonly pod?: PodSandbox; readonly container?: Container };
    try {
      await this.call('stateChange', { event: eventNumbers[event] as Event, pod, container });
    } catch (error) {
      if (!(error instanceof RemoteError)) return this.#lost(event, error);
      if (error.code !== statusCode.unimplemented) throw this.refusal(event, error.message);
    }
    return undefined;
  }

  #lost(event: PluginEvent, error: unknown): undefined {
    if (!this.isOpen) return undefined;
    const reason = messageOf(error);
    if (isKind(error, 'deadline-exceeded')) this.#options.onHang();
    this.#options.log.error({ plugin: this.label, event, reason }, 'an NRI plugin is disconnected');
    this.close(`disconnected: ${reason}`);
    return undefined;
  }
}

const answered: ReadonlySet<PluginEvent> = new Set([
  'createContainer',
  'updateContainer',
  'stopContainer',
  'updatePodSandbox',
  'validateContainerAdjustment',
]);

function isNotice(event: PluginEvent): boolean {
  return !answered.has(event);
}
