/** Which plugin set what of a container: two that set the same thing are a conflict, and validators are told who did what. */
import type { FieldOwners, OwningPlugins } from '../../gen/nri/v1alpha1/api.ts';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';

/** Fields with one value, by their numbers on the wire. */
const simpleFields = {
  hooks: 3,
  args: 7,
  'memory.limit': 8,
  'memory.reservation': 9,
  'memory.swap': 10,
  'memory.kernel': 11,
  'memory.kernelTcp': 12,
  'memory.swappiness': 13,
  'memory.disableOomKiller': 14,
  'memory.useHierarchy': 15,
  'cpu.shares': 16,
  'cpu.quota': 17,
  'cpu.period': 18,
  'cpu.realtimeRuntime': 19,
  'cpu.realtimePeriod': 20,
  'cpu.cpus': 21,
  'cpu.mems': 22,
  pids: 23,
  blockioClass: 25,
  rdtClass: 26,
  cgroupsPath: 28,
  oomScoreAdj: 29,
  ioPriority: 31,
  seccompPolicy: 32,
  scheduler: 36,
  'rdt.closId': 37,
  'rdt.schemata': 38,
  'rdt.enableMonitoring': 39,
  memoryPolicy: 40,
} as const;

/** Fields that hold entries by key, each with an owner of its own. */
const keyedFields = {
  annotation: 1,
  mount: 2,
  device: 4,
  'CDI device': 5,
  'environment variable': 6,
  'hugepage limit': 24,
  'unified file': 27,
  rlimit: 30,
  namespace: 33,
  sysctl: 34,
  'network device': 35,
} as const;

export type SimpleField = keyof typeof simpleFields;
export type KeyedField = keyof typeof keyedFields;

const removalMark = '-';

/** The name without the mark that says "remove", if it has one. */
export function removalOf(key: string): string | undefined {
  return key.startsWith(removalMark) ? key.slice(1) : undefined;
}

/** The owners of one container's fields; after a removal only the plugin that removed an entry may set it again. */
export class Owners {
  readonly #owners = new Map<string, string>();
  readonly #wire: FieldOwners = { simple: {}, compound: {} };

  /** @throws EngineError failed-precondition when another plugin has set it */
  claim(field: SimpleField, plugin: string): void {
    this.#claim(field, field, plugin);
    this.#wire.simple[simpleFields[field]] = plugin;
  }

  /** Hooks are collected from all plugins: each is an owner. */
  share(field: SimpleField, plugin: string): void {
    const others = this.#wire.simple[simpleFields[field]];
    this.#wire.simple[simpleFields[field]] = others === undefined ? plugin : `${others},${plugin}`;
  }

  /** @throws EngineError failed-precondition when another plugin has set that entry */
  claimEntry(field: KeyedField, key: string, plugin: string): void {
    this.#claim(`${field} ${quote(key)}`, `${field} ${key}`, plugin);
    this.#entries(field)[key] = plugin;
  }

  /** The plugin asked that what another may have set be removed; what nobody set stays free for all. */
  clear(field: SimpleField, plugin: string): void {
    if (!this.#owners.has(field)) return;
    this.#owners.set(field, removalMark + plugin);
    this.#wire.simple[simpleFields[field]] = removalMark + plugin;
  }

  clearEntry(field: KeyedField, key: string, plugin: string): void {
    if (!this.#owners.has(`${field} ${key}`)) return;
    this.#owners.set(`${field} ${key}`, removalMark + plugin);
    this.#entries(field)[key] = removalMark + plugin;
  }

  get wire(): FieldOwners {
    return this.#wire;
  }

  #claim(what: string, key: string, plugin: string): void {
    const other = this.#owners.get(key);
    if (other !== undefined && other !== removalMark + plugin) {
      const name = removalOf(other) ?? other;
      throw new EngineError('failed-precondition', `NRI plugins ${name} and ${plugin} both set ${what}`);
    }
    this.#owners.set(key, plugin);
  }

  #entries(field: KeyedField): Record<string, string> {
    const number = keyedFields[field];
    this.#wire.compound[number] ??= { owners: {} };
    return this.#wire.compound[number].owners;
  }
}

/** The owners of several containers, as validators are told. */
export function ownersToWire(owners: ReadonlyMap<string, Owners>): OwningPlugins {
  return { owners: Object.fromEntries([...owners].map(([id, { wire }]) => [id, wire])) };
}
