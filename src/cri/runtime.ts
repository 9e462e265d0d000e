/** The RPCs on the engine itself. */
import { CgroupDriver } from '../gen/runtime/v1/api.ts';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { RuntimeHandlers } from './handlers.ts';

/** What `daemon.ts` found out about this host and itself when it started. */
interface EngineFacts {
  /** Semantic version of Gantry. */
  readonly version: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  readonly defaultHandler: string;
  /** What has to be tried is tried when it is first asked for. */
  readonly handlers: () => Promise<readonly HandlerFacts[]>;
  /** The directory below which containers have their root file systems. */
  readonly rootFileSystems: string;
  /** The configuration in force, for `crictl info`. */
  readonly config: unknown;
  /** Why the engine cannot run containers at all; absent when it can. */
  readonly brokenReason?: string;
}

export interface HandlerFacts {
  readonly name: string;
  readonly version: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
  readonly userNamespacesHostNetwork: boolean;
}

export interface RuntimeHandlerDeps {
  readonly facts: EngineFacts;
  readonly networks: {
    status(): Promise<{ readonly ready: boolean; readonly reason: string; readonly message: string }>;
    setPodCidr(cidrs: readonly string[], signal: AbortSignal): Promise<void>;
  };
}

const criVersion = 'v1';
/** What the kubelet sends and compares with; it has not changed since the interface began. */
const kubeletApiVersion = '0.1.0';

export function runtimeHandlers(
  deps: RuntimeHandlerDeps,
): Pick<RuntimeHandlers, 'version' | 'status' | 'runtimeConfig' | 'updateRuntimeConfig'> {
  const { facts } = deps;
  return {
    async version() {
      return {
        version: kubeletApiVersion,
        runtimeName: 'gantry',
        runtimeVersion: facts.version,
        runtimeApiVersion: criVersion,
      };
    },
    async status({ verbose }) {
      const [network, handlers] = await Promise.all([deps.networks.status(), facts.handlers()]);
      return {
        status: {
          conditions: [
            {
              type: 'RuntimeReady',
              status: facts.brokenReason === undefined,
              reason: facts.brokenReason === undefined ? '' : 'NoWorkingRuntime',
              message: facts.brokenReason ?? '',
            },
            { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
          ],
        },
        info: verbose ? verboseInfo(facts, handlers) : {},
        runtimeHandlers: handlersToWire(facts, handlers),
        features: {
          supplementalGroupsPolicy: true,
          userNamespacesHostNetwork: mapsUsersOnNodeNetwork(facts, handlers),
        },
      };
    },
    async runtimeConfig() {
      return {
        linux: {
          cgroupDriver: facts.cgroupDriver === 'systemd' ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
        },
      };
    },
    async updateRuntimeConfig({ runtimeConfig }, signal) {
      const cidrs = (runtimeConfig?.networkConfig?.podCidr ?? '')
        .split(',')
        .map((cidr) => cidr.trim())
        .filter((cidr) => cidr !== '');
      const bad = cidrs.find((cidr) => !/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(cidr));
      if (bad !== undefined)
        throw new EngineError(
          'invalid-argument',
          `runtime_config.network_config.pod_cidr: ${quote(bad)} is not a CIDR`,
        );
      if (cidrs.length > 0) await deps.networks.setPodCidr(cidrs, signal);
      return {};
    },
  };
}

/** The wire has one word for all handlers: what most pods ask for decides. */
function mapsUsersOnNodeNetwork({ defaultHandler }: EngineFacts, handlers: readonly HandlerFacts[]): boolean {
  return handlers.find(({ name }) => name === defaultHandler)?.userNamespacesHostNetwork === true;
}

/** The default handler is listed twice, by its name and as the nameless one that most pods ask for. */
function handlersToWire({ defaultHandler }: EngineFacts, handlers: readonly HandlerFacts[]) {
  const named = handlers.map(({ name, recursiveReadOnlyMounts, userNamespaces }) => ({
    name,
    features: { recursiveReadOnlyMounts, userNamespaces },
  }));
  const ofDefault = named.find(({ name }) => name === defaultHandler);
  return ofDefault === undefined ? named : [{ ...ofDefault, name: '' }, ...named];
}

/**
 * kubeadm reads `config.sandboxImage` from every runtime to warn of a pause image that differs: there is none here. critest reads
 * `config.stateDir`, and tries whether ids can be mapped on the file system above it, where it takes root file systems to be.
 */
function verboseInfo(facts: EngineFacts, handlers: readonly HandlerFacts[]): Record<string, string> {
  return {
    config: JSON.stringify({
      sandboxImage: '',
      stateDir: facts.rootFileSystems,
      ...(facts.config as object),
    }),
    runtimes: JSON.stringify({ default: facts.defaultHandler, handlers }),
    process: JSON.stringify({ version: facts.version, node: process.version, pid: process.pid }),
  };
}
