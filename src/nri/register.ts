import type { Socket } from 'node:net';
import type {
  ContainerUpdate,
  RegisterPluginRequest,
  UpdateContainersRequest,
  UpdateContainersResponse,
} from '../gen/nri/v1alpha1/api.ts';
import { EngineError, isKind, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { Log } from '../telemetry/log.ts';
import { PluginConnection } from './connection.ts';
import { subscriptionOf } from './events.ts';
import type { HangRecord } from './hang-record.ts';
import { Plugin } from './plugin.ts';
import type { Changes, PluginSet } from './plugin-set.ts';
import { synchronize, type Existing } from './synchronize.ts';

/** The wire version that is spoken here: plugins choose by it what they use. */
const nriVersion = 'v0.12.2';
/** A node has some hundreds of containers. */
const maxUpdates = 1000;
/** Of what a plugin says that is logged. */
const maxReasonChars = 1000;

export interface RegisterDeps {
  readonly log: Log;
  readonly plugins: PluginSet;
  readonly hangs: HangRecord;
  readonly runtime: { readonly name: string; readonly version: string };
  readonly registrationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Takes note, in the moment in which it is called, of what exists; the details may follow. */
  readonly existing: () => Promise<Existing>;
  /** Changes containers as a plugin asks, and gives the updates that failed. */
  readonly apply: (changes: Changes) => Promise<ContainerUpdate[]>;
}

/** A plugin that was started by us: it does not choose what it is called. */
export interface LaunchedIdentity {
  readonly index: string;
  readonly name: string;
  /** Its own configuration, as it stands in its file. */
  readonly config: string;
}

/**
 * Takes a plugin up on a new connection: it registers, is configured and told what exists, and takes part from then on.
 * Whatever goes wrong with it ends the connection and is logged. Settles when it takes part or has failed.
 */
export async function registerPlugin(
  deps: RegisterDeps,
  socket: Socket,
  launched?: LaunchedIdentity,
): Promise<void> {
  const registered = Promise.withResolvers<RegisterPluginRequest>();
  let plugin: Plugin | undefined;
  const connection = new PluginConnection(socket, {
    registerPlugin: (request) => {
      try {
        registered.resolve(checked(deps, request, launched));
      } catch (error) {
        // After the answer, which says why.
        setImmediate(() => registered.reject(error));
        throw error;
      }
    },
    updateContainers: async (request) => await updateContainers(deps, plugin, request),
  });
  const who = launched === undefined ? 'an NRI plugin' : `${launched.index}-${launched.name}`;
  try {
    const { pluginName, pluginIdx, NRIVersion } = await withinTime(deps, connection, registered.promise);
    plugin = await configure(deps, connection, {
      index: pluginIdx,
      name: pluginName,
      config: launched?.config ?? '',
    });
    deps.log.debug({ plugin: plugin.label, version: quote(NRIVersion) }, 'an NRI plugin has registered');
    await join(deps, plugin, connection);
  } catch (error) {
    const reason = messageOf(error).slice(0, maxReasonChars);
    if (plugin !== undefined && isKind(error, 'deadline-exceeded')) deps.hangs.note(plugin.label);
    deps.log.error({ plugin: plugin?.label ?? who, reason }, 'an NRI plugin could not be taken up');
    connection.close(reason);
  }
}

/** @throws EngineError invalid-argument, unavailable for one that has hung again and again */
function checked(
  { hangs }: RegisterDeps,
  request: RegisterPluginRequest,
  launched: LaunchedIdentity | undefined,
): RegisterPluginRequest {
  if (launched !== undefined) return { ...request, pluginName: launched.name, pluginIdx: launched.index };
  const { pluginName, pluginIdx } = request;
  if (!isPluginIndex(pluginIdx))
    throw new EngineError('invalid-argument', `plugin index ${quote(pluginIdx)}: two digits are wanted`);
  if (!isPluginName(pluginName))
    throw new EngineError(
      'invalid-argument',
      `plugin name ${quote(pluginName)}: letters, digits and -_.+ are wanted`,
    );
  const waitMs = hangs.waitMs(`${pluginIdx}-${pluginName}`);
  if (waitMs === 0) return request;
  const seconds = Math.ceil(waitMs / 1000);
  throw new EngineError('unavailable', `it did not answer again and again: it may register in ${seconds} s`);
}

export function isPluginIndex(text: string): boolean {
  return /^[0-9]{2}$/.test(text);
}

export function isPluginName(text: string): boolean {
  return /^[A-Za-z0-9._+-]{1,128}$/.test(text);
}

async function withinTime<T>(
  { registrationTimeoutMs }: RegisterDeps,
  connection: PluginConnection,
  promise: Promise<T>,
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const message = `it did not register within ${registrationTimeoutMs} ms`;
  const timer = setTimeout(
    () => reject(new EngineError('deadline-exceeded', message)),
    registrationTimeoutMs,
  );
  const ended = connection.ended.then((reason) => {
    throw new EngineError('unavailable', reason);
  });
  ended.catch(() => undefined);
  return await Promise.race([promise, late, ended]).finally(() => clearTimeout(timer));
}

async function configure(
  deps: RegisterDeps,
  connection: PluginConnection,
  { index, name, config }: LaunchedIdentity,
): Promise<Plugin> {
  const { registrationTimeoutMs, requestTimeoutMs, runtime, log, hangs } = deps;
  const request = {
    config,
    runtimeName: runtime.name,
    runtimeVersion: runtime.version,
    registrationTimeout: BigInt(registrationTimeoutMs),
    requestTimeout: BigInt(requestTimeoutMs),
    NRIVersion: nriVersion,
  };
  const { events } = await connection.call('configure', request, requestTimeoutMs);
  const subscription = subscriptionOf(events);
  if (subscription === undefined)
    throw new EngineError('invalid-argument', `it subscribes to events that do not exist (${events})`);
  const onHang = (): void => hangs.note(`${index}-${name}`);
  return new Plugin({ index, name, subscription, connection, requestTimeoutMs, log, onHang });
}

/**
 * The plugin is in the list and what exists has been noted in one moment: whatever was begun before is in that note, and
 * whatever begins later waits for the plugin. So nothing is lost, and nothing is told twice.
 */
async function join(deps: RegisterDeps, plugin: Plugin, connection: PluginConnection): Promise<void> {
  const { plugins, log } = deps;
  plugins.add(plugin);
  void connection.ended.then((reason) => {
    plugins.remove(plugin);
    log.warn({ plugin: plugin.label, reason }, 'an NRI plugin no longer takes part');
  });
  const existing = await deps.existing();
  const updates = await synchronize(plugin, existing, deps.registrationTimeoutMs);
  plugin.synchronized();
  if (updates.length > 0) void deps.apply({ updates, evictions: [] });
}

async function updateContainers(
  deps: RegisterDeps,
  plugin: Plugin | undefined,
  { update, evict }: UpdateContainersRequest,
): Promise<UpdateContainersResponse> {
  if (plugin === undefined)
    throw new EngineError('failed-precondition', 'the plugin has not been configured');
  if (update.length + evict.length > maxUpdates)
    throw new EngineError('invalid-argument', `more than ${maxUpdates} updates at once`);
  return { failed: await deps.apply({ updates: update, evictions: evict }) };
}
