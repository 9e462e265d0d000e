import { LinuxCPU, LinuxMemory, type LinuxResources } from '../../gen/nri/v1alpha1/api.ts';
import type { Owners, SimpleField } from './owners.ts';

const memoryFields = [
  'limit',
  'reservation',
  'swap',
  'kernel',
  'kernelTcp',
  'swappiness',
  'disableOomKiller',
  'useHierarchy',
] as const satisfies readonly (keyof LinuxMemory)[];
const cpuFields = ['shares', 'quota', 'period', 'realtimeRuntime', 'realtimePeriod'] as const;
const cpuLists = ['cpus', 'mems'] as const;
const classes = ['blockioClass', 'rdtClass'] as const;

/** Who asks, and whose claims count. */
export interface Claimant {
  readonly owners: Owners;
  readonly plugin: string;
}

/**
 * Lays what one plugin asks for over `targets`: what has been collected so far, and the container as the next plugin sees it.
 *
 * @throws EngineError failed-precondition when another plugin has set the same limit
 */
export function mergeResources(
  targets: readonly LinuxResources[],
  asked: LinuxResources,
  claimant: Claimant,
): void {
  mergeMemory(targets, asked.memory, claimant);
  mergeCpu(targets, asked.cpu, claimant);
  mergeKeyed(targets, asked, claimant);
  mergeClasses(targets, asked, claimant);
  for (const target of targets) target.devices = [...target.devices, ...asked.devices];
}

function claim({ owners, plugin }: Claimant, field: SimpleField): void {
  owners.claim(field, plugin);
}

function mergeMemory(
  targets: readonly LinuxResources[],
  asked: LinuxMemory | undefined,
  claimant: Claimant,
): void {
  for (const field of memoryFields) {
    const value = asked?.[field];
    if (value === undefined) continue;
    claim(claimant, `memory.${field}`);
    for (const target of targets)
      target.memory = { ...(target.memory ?? LinuxMemory.fromPartial({})), [field]: value };
  }
}

function mergeCpu(targets: readonly LinuxResources[], asked: LinuxCPU | undefined, claimant: Claimant): void {
  for (const field of [...cpuFields, ...cpuLists]) {
    const value = asked?.[field];
    if (value === undefined || value === '') continue;
    claim(claimant, `cpu.${field}`);
    for (const target of targets)
      target.cpu = { ...(target.cpu ?? LinuxCPU.fromPartial({})), [field]: value };
  }
}

function mergeKeyed(
  targets: readonly LinuxResources[],
  { hugepageLimits, unified, pids }: LinuxResources,
  claimant: Claimant,
): void {
  const { owners, plugin } = claimant;
  for (const limit of hugepageLimits) {
    owners.claimEntry('hugepage limit', limit.pageSize, plugin);
    for (const target of targets)
      target.hugepageLimits = [
        ...target.hugepageLimits.filter(({ pageSize }) => pageSize !== limit.pageSize),
        limit,
      ];
  }
  for (const [file, value] of Object.entries(unified)) {
    owners.claimEntry('unified file', file, plugin);
    for (const target of targets) target.unified = { ...target.unified, [file]: value };
  }
  if (pids === undefined) return;
  claim(claimant, 'pids');
  for (const target of targets) target.pids = pids;
}

function mergeClasses(targets: readonly LinuxResources[], asked: LinuxResources, claimant: Claimant): void {
  for (const field of classes) {
    const value = asked[field];
    if (value === undefined) continue;
    claim(claimant, field);
    for (const target of targets) target[field] = value;
  }
}
