/**
 * The seam between the CNI protocol and the plugins that exist in-process. A plugin here reads the same request
 * and gives the same result as the program of its name; the protocol decides for a whole list which of the two runs.
 */
import type { RouteSocket } from '../linux/netlink/socket.ts';
import type { Poller } from '../linux/poll.ts';

/** A network interface of a result. `sandbox` is the network namespace's path; absent for one in the host. */
export interface CniInterface {
  name: string;
  mac?: string;
  mtu?: number;
  sandbox?: string;
}

/** An address of a result, `10.1.2.3/24`. `interface` is an index into `interfaces`. */
export interface CniIp {
  interface?: number;
  address: string;
  gateway?: string;
}

/** A route of a result. Without `gw` the gateway of the address of its family is meant. */
export interface CniRoute {
  dst: string;
  gw?: string;
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

export interface CniDns {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

/** The success result of CNI 1.1.0. What a plugin does not use is an empty list. */
export interface CniResult {
  cniVersion: string;
  interfaces: CniInterface[];
  ips: CniIp[];
  routes: CniRoute[];
  dns: CniDns;
}

/** One attachment of one container, as a plugin of a list sees it. */
export interface PluginRequest {
  /** The derived request: the plugin's own keys with cniVersion, name, runtimeConfig and prevResult. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly containerId: string;
  /** Undefined in a DEL whose namespace is gone. */
  readonly netnsPath: string | undefined;
  readonly ifName: string;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  /** `config.prevResult`, converted to the 1.1.0 shape. */
  readonly prevResult?: CniResult;
}

/** An attachment that is alive, as GC is told. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** What the plugins need from the daemon. */
export interface PluginDeps {
  /** A route socket in the host's network namespace. */
  readonly route: RouteSocket;
  readonly poller: Poller;
  /** Opens a route socket's descriptor in a network namespace; the plugin closes it. */
  readonly openNetlink: (netnsPath: string) => Promise<number>;
  /** Of the host. `name` has slashes (`net/ipv4/ip_forward`), as an interface's name may hold dots. */
  readonly writeSysctl: (name: string, value: string) => void;
  /** Of a network namespace, by such names; those that the kernel does not have are left out. */
  readonly writePodSysctls: (netnsPath: string, values: Readonly<Record<string, string>>) => Promise<void>;
  /** Where host-local keeps its leases: shared with the program. Default /var/lib/cni/networks. */
  readonly dataDir?: string;
  /** Facts that end with the boot. Default /run/gantry/cni. */
  readonly runDir?: string;
}

export interface InProcessPlugin {
  readonly type: string;
  /** The first key (or `key=value`) that only the program knows and that forces exec; undefined when there is none. */
  supports(config: Readonly<Record<string, unknown>>): string | undefined;
  /** Undoes what it did before it throws, but for what DEL undoes anyway. @throws EngineError, SyscallError */
  add(deps: PluginDeps, request: PluginRequest): Promise<CniResult>;
  /** Idempotent, and does what can be done without a namespace. */
  del(deps: PluginDeps, request: PluginRequest): Promise<void>;
  /** @throws EngineError failed-precondition when the attachment is not as `prevResult` says */
  check(deps: PluginDeps, request: PluginRequest): Promise<void>;
  /** @throws EngineError when an ADD cannot succeed now. Absent: always ready. */
  status?(deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void>;
  /** Releases what belongs to no valid attachment of the network. */
  gc?(
    deps: PluginDeps,
    config: Readonly<Record<string, unknown>>,
    valid: readonly ValidAttachment[],
  ): Promise<void>;
  /**
   * The network's last attachment has gone: takes away what was made here for the network as a whole, and nothing that
   * was there before or that somebody uses. An ADD may come at any time. Idempotent.
   */
  release?(deps: PluginDeps, config: Readonly<Record<string, unknown>>): Promise<void>;
  /** Takes away what belongs to containers that are not among these, of whatever network. No ADD or DEL runs meanwhile. */
  sweep?(deps: PluginDeps, knownContainerIds: ReadonlySet<string>): Promise<void>;
}
