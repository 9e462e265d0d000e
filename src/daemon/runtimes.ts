/** Which OCI runtimes this host has, which of them pods get that ask for none, and what each can do. */
import type { Config } from '../config-schema.ts';
import type { HandlerFacts } from '../cri/runtime.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { canChangeMountTrees } from '../linux/mount.ts';
import { findProgram } from '../linux/program.ts';
import type { Poller } from '../linux/poll.ts';
import {
  chooseRuntime,
  loadRuntime,
  type RuntimeCandidate,
  type RuntimeHost,
} from '../oci/choose-runtime.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import type { Log } from '../telemetry/log.ts';
import type { UserNamespaceProblems } from './user-namespaces.ts';

export interface RuntimeSet {
  readonly handlers: ReadonlyMap<string, OciRuntime>;
  readonly defaultHandler: string;
  readonly facts: readonly HandlerFacts[];
  /** By handler. */
  readonly userNamespaceProblems: ReadonlyMap<string, UserNamespaceProblems>;
  /** Why no container can run here; the daemon serves on, and says so in its status. */
  readonly brokenReason?: string;
}

interface RuntimeSearchDeps {
  readonly poller: Poller;
  readonly log: Log;
  /** Tries them with one runtime. Never throws. */
  readonly tryUserNamespaces: (runtime: OciRuntime) => Promise<UserNamespaceProblems>;
}

/** Never throws: a host without a runtime still answers, and says what is missing. */
export async function findRuntimes(
  config: Config['runtime'],
  host: RuntimeHost,
  deps: RuntimeSearchDeps,
): Promise<RuntimeSet> {
  const handlers = new Map<string, OciRuntime>();
  const candidates: RuntimeCandidate[] = [];
  for (const [name, { path }] of Object.entries(config.handlers)) {
    try {
      const candidate = { name, path: findProgram(path) };
      handlers.set(name, await loadRuntime(host, candidate));
      candidates.push(candidate);
    } catch (error) {
      deps.log.info({ handler: name, reason: messageOf(error) }, 'a runtime handler is not available');
    }
  }
  const choice = await chooseDefault(config, { ...host, candidates }, deps);
  const probed = await Promise.all([...handlers.values()].map(async (runtime) => await probe(runtime, deps)));
  return {
    handlers,
    ...choice,
    userNamespaceProblems: new Map(probed.map(({ name, problems }) => [name, problems])),
    facts: probed.map(({ name, version, problems }) => ({
      name,
      version,
      recursiveReadOnlyMounts: canChangeMountTrees(),
      userNamespaces: problems.podNetwork === undefined,
      userNamespacesHostNetwork: problems.nodeNetwork === undefined,
    })),
  };
}

async function probe(runtime: OciRuntime, { tryUserNamespaces, log }: RuntimeSearchDeps) {
  const { name, version } = runtime;
  const problems = await tryUserNamespaces(runtime);
  for (const [network, reason] of Object.entries(problems))
    log.info({ handler: name, network, reason }, 'pods cannot have user namespaces');
  return { name, version, problems };
}

async function chooseDefault(
  config: Config['runtime'],
  host: RuntimeHost & { readonly candidates: readonly RuntimeCandidate[] },
  { poller, log }: { readonly poller: Poller; readonly log: Log },
): Promise<Pick<RuntimeSet, 'defaultHandler' | 'brokenReason'>> {
  const wanted = config.default_handler;
  const candidates =
    wanted === 'auto' ? host.candidates : host.candidates.filter(({ name }) => name === wanted);
  try {
    const { runtime, rejected } = await chooseRuntime({ poller }, { ...host, candidates });
    for (const { candidate, reason } of rejected)
      log.warn(
        { handler: candidate.name, reason },
        'a runtime does not work on this host and is passed over',
      );
    log.info({ handler: runtime.name, path: runtime.path, version: runtime.version }, 'default runtime');
    return { defaultHandler: runtime.name };
  } catch (error) {
    const brokenReason =
      candidates.length === 0 ? `no runtime is installed for handler ${wanted}` : messageOf(error);
    log.error({ reason: brokenReason }, 'no container can be run on this host');
    return { defaultHandler: wanted === 'auto' ? '' : wanted, brokenReason };
  }
}

/** @throws EngineError failed-precondition if pods of this handler can have no user namespace of their own */
export function mustMapUsers(
  { userNamespaceProblems }: RuntimeSet,
  handler: string,
  network: keyof UserNamespaceProblems,
): void {
  const reason = userNamespaceProblems.get(handler)?.[network];
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
