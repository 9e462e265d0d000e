/** Which OCI runtimes this host has, which of them pods get that ask for none, and what each can do. */
import type { Config } from '../config-schema.ts';
import type { HandlerFacts } from '../cri/runtime.ts';
import { EngineError, messageOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { findProgram } from '../linux/program.ts';
import type { Poller } from '../linux/poll.ts';
import {
  chooseRuntime,
  loadRuntime,
  type RuntimeCandidate,
  type RuntimeHost,
} from '../oci/choose-runtime.ts';
import { probeFeatures, type RuntimeFeatures } from '../oci/runtime-version.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';
import type { Log } from '../telemetry/log.ts';

export interface RuntimeSet {
  readonly handlers: ReadonlyMap<string, OciRuntime>;
  readonly defaultHandler: string;
  readonly facts: readonly HandlerFacts[];
  /** Of the default handler. */
  readonly features: RuntimeFeatures;
  /** Why no container can run here; the daemon serves on, and says so in its status. */
  readonly brokenReason?: string;
}

const noFeatures: RuntimeFeatures = {
  recursiveReadOnlyMounts: false,
  idmappedMounts: false,
  source: 'known by version',
};

/** Never throws: a host without a runtime still answers, and says what is missing. */
export async function findRuntimes(
  config: Config['runtime'],
  host: RuntimeHost,
  deps: { readonly poller: Poller; readonly log: Log },
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
  const facts = new Map<string, RuntimeFeatures>();
  for (const [name, runtime] of handlers) facts.set(name, await probeFeatures(runtime));
  const choice = await chooseDefault(config, { ...host, candidates }, deps);
  return {
    handlers,
    ...choice,
    features: facts.get(choice.defaultHandler) ?? noFeatures,
    facts: [...handlers.values()].map(({ name, version }) => ({
      name,
      version,
      recursiveReadOnlyMounts: facts.get(name)?.recursiveReadOnlyMounts ?? false,
      // A pod with a user namespace is refused by name in this release.
      userNamespaces: false,
    })),
  };
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
export function mustMapUsers({ facts }: RuntimeSet, handler: string): void {
  if (facts.find(({ name }) => name === handler)?.userNamespaces === true) return;
  throw new EngineError(
    'failed-precondition',
    `userns_options: runtime handler ${quote(handler)} has no user namespaces on this node`,
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
