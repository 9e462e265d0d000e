/** What the suite's specs are about, as the table of their results is divided. */
import type { SpecResult } from '../ginkgo/report.ts';

/** The first whose pattern the spec's name matches. */
const areas: readonly { readonly name: string; readonly spec: RegExp }[] = [
  { name: 'probes', spec: /Prob(e|ing)\b/ },
  { name: 'checkpoints', spec: /Checkpoint/ },
  { name: 'in-place resize', spec: /Resize/ },
  { name: 'swap', spec: /^\[sig-node\] Swap\b/ },
  { name: 'memory QoS', spec: /MemoryQoS/ },
  { name: 'garbage collection', spec: /GarbageCollect|ImageGC/ },
  { name: 'out of memory, process limits', spec: /OOM|PidsLimit/ },
  { name: 'log rotation', spec: /LogRotation/ },
  {
    name: 'restarts of kubelet and engine',
    spec: /\[Serial\].*(kubelet restarts?|reboots)\b|Restart \[Serial\]/,
  },
  { name: 'volumes, projected and mounted', spec: /^\[sig-storage\]|ImageVolume|image volume/i },
  { name: 'addresses, names, networking', spec: /^\[sig-network\]|Hostname|hostname|EtcHosts/ },
  {
    name: 'security of pods',
    spec: /Security Context|Sysctls|AppArmor|ProcMount|read-only|[Pp]rivileged|Seccomp|HostUsers|User ?[Nn]amespace/,
  },
  {
    name: 'containers, init containers and hooks',
    spec: /^\[sig-node\] (\[\S+\] )*(Containers|Container|Restartable|InitContainer|Lifecycle|Ephemeral|Variable|Terminate|Pod SIGKILL)\b/,
  },
  { name: 'settings by environment', spec: /^\[sig-node\] (ConfigMap|Secrets|Downward API)/ },
  { name: 'statistics', spec: /Summary API|ContainerMetrics/ },
  { name: 'pods, static pods, the kubelet', spec: /./ },
];

/** How many specs of an area passed, failed, and skipped themselves. */
interface AreaCount {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Counts the specs of each area that has any, in the table's order. */
export function countByArea(specs: readonly SpecResult[]): AreaCount[] {
  const groups = Map.groupBy(specs, ({ name }) => areas.find(({ spec }) => spec.test(name))?.name);
  return areas.flatMap(({ name }) => {
    const group = groups.get(name);
    if (group === undefined) return [];
    const count = (state: SpecResult['state']): number => group.filter((spec) => spec.state === state).length;
    return [{ name, passed: count('passed'), failed: count('failed'), skipped: count('skipped') }];
  });
}
