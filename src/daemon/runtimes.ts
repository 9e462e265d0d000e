/** Which OCI runtimes this host has, which of them pods get that ask for none, and what each can do. */
import type { Config } from '../config-schema.ts';
import type { HandlerFacts } from '../cri/runtime.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { canChangeMountTrees } from '../linux/mount.ts';
import { findProgram } from '../linux/program.ts';
import type { Poller } from '../linux/poll.ts';
import { chooseRuntime, loadRuntime, type RuntimeHost } from '../oci/choose-runtime.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import type { Log } from '../telemetry/log.ts';
import type { UserNamespaceProblems, UserNamespaceTrials } from './user-namespaces.ts';

export interface RuntimeSet {
  readonly handlers: ReadonlyMap<string, OciRuntime>;
  readonly defaultHandler: string;
  /** Why no container can run here; the daemon serves on, and says so in its status. */
  readonly brokenReason?: string;
}

/** Never throws: a host without a runtime still answers, and says what is missing. */
export async function findRuntimes(
  config: Config['runtime'],
  host: RuntimeHost,
  deps: { readonly poller: Poller; readonly log: Log },
): Promise<RuntimeSet> {
  const loads = Object.entries(config.handlers).map(async ([name, { path }]) => {
    try {
      return await loadRuntime(host, { name, path: findProgram(path) });
    } catch (error) {
      deps.log.info({ handler: name, reason: messageOf(error) }, 'a runtime handler is not available');
      return undefined;
    }
  });
  const runtimes = (await Promise.all(loads)).filter((runtime) => runtime !== undefined);
  const handlers = new Map(runtimes.map((runtime) => [runtime.name, runtime]));
  return { handlers, ...(await chooseDefault(config, runtimes, deps)) };
}

/** What each runtime can do here, as CRI tells it. */
export async function handlerFacts(
  { handlers }: RuntimeSet,
  trials: UserNamespaceTrials,
): Promise<HandlerFacts[]> {
  return await Promise.all(
    [...handlers.values()].map(async (runtime) => {
      const { podNetwork, nodeNetwork } = await trials.problemsOf(runtime);
      return {
        name: runtime.name,
        version: runtime.version,
        recursiveReadOnlyMounts: canChangeMountTrees(),
        userNamespaces: podNetwork === undefined,
        userNamespacesHostNetwork: nodeNetwork === undefined,
      };
    }),
  );
}

async function chooseDefault(
  config: Config['runtime'],
  runtimes: readonly OciRuntime[],
  { poller, log }: { readonly poller: Poller; readonly log: Log },
): Promise<Pick<RuntimeSet, 'defaultHandler' | 'brokenReason'>> {
  const wanted = config.default_handler;
  const candidates = wanted === 'auto' ? runtimes : runtimes.filter(({ name }) => name === wanted);
  try {
    const { runtime, rejected } = await chooseRuntime({ poller }, candidates);
    for (const { runtime: other, reason } of rejected)
      log.warn({ handler: other.name, reason }, 'a runtime does not work on this host and is passed over');
    const { name: handler, path, version, readOnlyPath } = runtime;
    log.info({ handler, path, version, readOnly: readOnlyPath !== undefined }, 'default runtime');
    return { defaultHandler: runtime.name };
  } catch (error) {
    const brokenReason =
      candidates.length === 0 ? `no runtime is installed for handler ${wanted}` : messageOf(error);
    log.error({ reason: brokenReason }, 'no container can be run on this host');
    return { defaultHandler: wanted === 'auto' ? '' : wanted, brokenReason };
  }
}

/** @throws EngineError failed-precondition if pods of this handler can have no user namespace of their own */
export async function mustMapUsers(
  { handlers }: RuntimeSet,
  trials: UserNamespaceTrials,
  { handler, network }: { readonly handler: string; readonly network: keyof UserNamespaceProblems },
): Promise<void> {
  const runtime = handlers.get(handler);
  const reason = runtime === undefined ? 'it is not configured' : (await trials.problemsOf(runtime))[network];
  if (reason === undefined) return;
  const what = network === 'podNetwork' ? 'user namespaces' : 'user namespaces with the network of the node';
  throw new EngineError(
    'failed-precondition',
    `userns_options: runtime handler ${quote(handler)} has no ${what} on this node: ${reason}`,
  );
}

/** The handler for what a pod asked. @throws EngineError invalid-argument for an unknown one, failed-precondition without any */
export function handlerFor(
  { handlers, defaultHandler, brokenReason }: RuntimeSet,
  requested: string,
): string {
  if (requested === '' && brokenReason !== undefined)
    throw new EngineError('failed-precondition', brokenReason);
  const handler = requested === '' ? defaultHandler : requested;
  if (!handlers.has(handler))
    throw new EngineError(
      'invalid-argument',
      `runtime_handler: ${quote(handler)} is not one of ${[...handlers.keys()].join(', ')}`,
    );
  return handler;
}
