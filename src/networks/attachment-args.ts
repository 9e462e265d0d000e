/** What a pod asks of its network, in the words of CNI: CNI_ARGS and capability arguments. Pure. */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/** A pod that is to be attached. */
export interface AttachRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly portMappings: readonly {
    readonly protocol: 'tcp' | 'udp' | 'sctp';
    readonly containerPort: number;
    /** Left out: nothing is opened on the host. */
    readonly hostPort?: number | undefined;
    readonly hostIp?: string | undefined;
  }[];
  /** Also say the pod's bandwidth: `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly dns?:
    | {
        readonly servers: readonly string[];
        readonly searches: readonly string[];
        readonly options: readonly string[];
      }
    | undefined;
  readonly cgroupPath?: string;
}

/** The CNI_ARGS that every Kubernetes runtime gives. */
export function podArgs({ sandboxId, pod }: AttachRequest): Record<string, string> {
  const args = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: pod.namespace,
    K8S_POD_NAME: pod.name,
    K8S_POD_INFRA_CONTAINER_ID: sandboxId,
    K8S_POD_UID: pod.uid,
  };
  // The list is separated by semicolons and has no escape: a value with one would set another key.
  for (const [key, value] of Object.entries(args)) {
    if (/[;=\0\n]/.test(value))
      throw new EngineError('invalid-argument', `pod sandbox ${sandboxId}: ${quote(value)} cannot be ${key}`);
  }
  return args;
}

/** Everything that a plugin may declare; each plugin is given only what it does. */
export function podCapabilityArgs(request: AttachRequest): Record<string, unknown> {
  const ports = hostPorts(request);
  const { annotations = {}, dns, cgroupPath } = request;
  const bandwidth = bandwidthOf(annotations);
  return {
    ...(ports.length === 0 ? {} : { portMappings: ports }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
    ...(dns === undefined ? {} : { dns }),
    ...(cgroupPath === undefined ? {} : { cgroupPath }),
    ...(Object.keys(annotations).length === 0 ? {} : { 'io.kubernetes.cri.pod-annotations': annotations }),
  };
}

function hostPorts({ sandboxId, portMappings }: AttachRequest): object[] {
  const published = portMappings.filter(({ hostPort }) => hostPort !== undefined && hostPort !== 0);
  for (const port of published.flatMap(({ hostPort, containerPort }) => [hostPort, containerPort])) {
    if (port !== undefined && Number.isInteger(port) && port > 0 && port < 65_536) continue;
    throw new EngineError(
      'invalid-argument',
      `pod sandbox ${sandboxId}: port ${port} is not from 1 to 65535`,
    );
  }
  return published.map(({ hostPort, containerPort, protocol, hostIp }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIp === undefined || hostIp === '' ? {} : { hostIP: hostIp }),
  }));
}

// The plugin refuses a rate without a burst; the annotations know only the rate.
const unlimitedBurstBits = 2 ** 31 - 1;

function bandwidthOf(annotations: Readonly<Record<string, string>>): Record<string, number> | undefined {
  const ingressRate = rateOf(annotations, 'kubernetes.io/ingress-bandwidth');
  const egressRate = rateOf(annotations, 'kubernetes.io/egress-bandwidth');
  if (ingressRate === undefined && egressRate === undefined) return undefined;
  return {
    ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: unlimitedBurstBits }),
    ...(egressRate === undefined ? {} : { egressRate, egressBurst: unlimitedBurstBits }),
  };
}

const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A Kubernetes quantity in bits per second, within the bounds that Kubernetes sets. */
function rateOf(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = annotations[name];
  if (text === undefined) return undefined;
  const parts = /^(\d+(?:\.\d+)?)([kMGTP]|[KMGT]i|)$/.exec(text);
  const bits =
    parts === null ? Number.NaN : Math.ceil(Number(parts[1]) * (suffixes[parts[2] ?? ''] ?? Number.NaN));
  if (bits >= 1e3 && bits <= 1e15) return bits;
  throw new EngineError(
    'invalid-argument',
    `annotation ${name}: ${quote(text)} is not a bandwidth from 1k to 1P`,
  );
}
