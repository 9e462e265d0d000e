import {
  type Container,
  ContainerAdjustment,
  Hooks,
  LinuxContainer,
  type LinuxContainerAdjustment,
  LinuxRdt,
  LinuxResources,
} from '../../gen/nri/v1alpha1/api.ts';
import { mergeList, mergeMap } from './entries.ts';
import type { Owners } from './owners.ts';
import { mergeResources, type Claimant } from './resources.ts';

/**
 * What plugins make of a container that is being created. `container` is what the next plugin is shown: as it was to be, with
 * everything that the plugins before it asked for; `adjust` collects what they asked for.
 */
export interface CollectedAdjustment {
  readonly container: Container;
  readonly adjust: ContainerAdjustment;
  readonly owners: Owners;
}

type WholeContainer = Container & { hooks: Hooks; linux: LinuxContainer & { resources: LinuxResources } };
type WholeAdjustment = ContainerAdjustment & {
  hooks: Hooks;
  linux: LinuxContainerAdjustment & { resources: LinuxResources };
};

interface Sides {
  readonly seen: WholeContainer;
  readonly adjust: WholeAdjustment;
}

/** Nothing asked for yet. `container` is changed in place from here on. */
export function emptyAdjustment(container: Container, owners: Owners): CollectedAdjustment {
  container.hooks ??= Hooks.fromPartial({});
  container.linux ??= LinuxContainer.fromPartial({});
  container.linux.resources ??= LinuxResources.fromPartial({});
  const adjust = ContainerAdjustment.fromPartial({ hooks: {}, linux: { resources: {} } });
  return { container, adjust, owners };
}

/**
 * Lays what one plugin asks for over what others asked before it.
 *
 * @throws EngineError failed-precondition when two plugins set the same thing
 */
export function mergeAdjustment(
  collected: CollectedAdjustment,
  asked: ContainerAdjustment,
  plugin: string,
): void {
  const sides: Sides = {
    seen: collected.container as WholeContainer,
    adjust: collected.adjust as WholeAdjustment,
  };
  const claimant: Claimant = { owners: collected.owners, plugin };
  mergeProcess(sides, asked, claimant);
  mergeMounts(sides, asked, claimant);
  mergeHooks(sides, asked.hooks, claimant);
  mergeCdi(sides, asked, claimant);
  if (asked.linux === undefined) return;
  mergeLinuxEntries(sides, asked.linux, claimant);
  mergeLinuxValues(sides, asked.linux, claimant);
  mergeRdt(sides, asked.linux.rdt, claimant);
  if (asked.linux.resources !== undefined)
    mergeResources(
      [sides.seen.linux.resources, sides.adjust.linux.resources],
      asked.linux.resources,
      claimant,
    );
}

function mergeProcess({ seen, adjust }: Sides, asked: ContainerAdjustment, claimant: Claimant): void {
  const { owners, plugin } = claimant;
  const annotations = mergeMap(
    'annotation',
    { asked: adjust.annotations, seen: seen.annotations },
    asked.annotations,
    claimant,
  );
  adjust.annotations = annotations.asked;
  seen.annotations = annotations.seen;
  const variables = seen.env.map((line) => ({
    key: line.split('=', 1)[0] ?? '',
    value: line.slice(line.indexOf('=') + 1),
  }));
  const env = mergeList(
    { field: 'environment variable', keyOf: ({ key }) => key },
    { asked: adjust.env, seen: variables },
    asked.env,
    claimant,
  );
  adjust.env = env.asked;
  seen.env = env.seen.map(({ key, value }) => `${key}=${value}`);
  const rlimits = mergeList(
    { field: 'rlimit', keyOf: ({ type }) => type },
    { asked: adjust.rlimits, seen: seen.rlimits },
    asked.rlimits,
    claimant,
  );
  adjust.rlimits = rlimits.asked;
  seen.rlimits = rlimits.seen;
  if (asked.args.length === 0) return;
  // An empty first argument says that the plugin means to replace what another has set.
  const [first] = asked.args;
  if (first === '') owners.clear('args', plugin);
  owners.claim('args', plugin);
  adjust.args = first === '' ? asked.args.slice(1) : asked.args;
  seen.args = adjust.args;
}

function mergeMounts({ seen, adjust }: Sides, asked: ContainerAdjustment, claimant: Claimant): void {
  const mounts = mergeList(
    { field: 'mount', keyOf: ({ destination }) => destination },
    { asked: adjust.mounts, seen: seen.mounts },
    asked.mounts,
    claimant,
  );
  adjust.mounts = mounts.asked;
  seen.mounts = mounts.seen;
}

const hookKinds = Object.keys(Hooks.fromPartial({})) as (keyof Hooks)[];

function mergeHooks({ seen, adjust }: Sides, asked: Hooks | undefined, claimant: Claimant): void {
  if (asked === undefined || hookKinds.every((kind) => asked[kind].length === 0)) return;
  claimant.owners.share('hooks', claimant.plugin);
  for (const kind of hookKinds) {
    adjust.hooks[kind] = [...adjust.hooks[kind], ...asked[kind]];
    seen.hooks[kind] = [...seen.hooks[kind], ...asked[kind]];
  }
}

/** Names only: what they mean is looked up when all have been heard. They can be added, not removed. */
function mergeCdi({ seen, adjust }: Sides, asked: ContainerAdjustment, claimant: Claimant): void {
  for (const { name } of asked.CDIDevices) claimant.owners.claimEntry('CDI device', name, claimant.plugin);
  adjust.CDIDevices = [...adjust.CDIDevices, ...asked.CDIDevices];
  seen.CDIDevices = [...seen.CDIDevices, ...asked.CDIDevices];
}

function mergeLinuxEntries(
  { seen, adjust }: Sides,
  asked: LinuxContainerAdjustment,
  claimant: Claimant,
): void {
  const devices = mergeList(
    { field: 'device', keyOf: ({ path }) => path },
    { asked: adjust.linux.devices, seen: seen.linux.devices },
    asked.devices,
    claimant,
  );
  adjust.linux.devices = devices.asked;
  seen.linux.devices = devices.seen;
  const namespaces = mergeList(
    { field: 'namespace', keyOf: ({ type }) => type },
    { asked: adjust.linux.namespaces, seen: seen.linux.namespaces },
    asked.namespaces,
    claimant,
  );
  adjust.linux.namespaces = namespaces.asked;
  seen.linux.namespaces = namespaces.seen;
  const sysctl = mergeMap(
    'sysctl',
    { asked: adjust.linux.sysctl, seen: seen.linux.sysctl },
    asked.sysctl,
    claimant,
  );
  adjust.linux.sysctl = sysctl.asked;
  seen.linux.sysctl = sysctl.seen;
  const links = mergeMap(
    'network device',
    { asked: adjust.linux.netDevices, seen: seen.linux.netDevices },
    asked.netDevices,
    claimant,
  );
  adjust.linux.netDevices = links.asked;
  seen.linux.netDevices = links.seen;
}

function mergeLinuxValues(
  { seen, adjust }: Sides,
  asked: LinuxContainerAdjustment,
  { owners, plugin }: Claimant,
): void {
  if (asked.cgroupsPath !== '') {
    owners.claim('cgroupsPath', plugin);
    adjust.linux.cgroupsPath = seen.linux.cgroupsPath = asked.cgroupsPath;
  }
  if (asked.oomScoreAdj !== undefined) {
    owners.claim('oomScoreAdj', plugin);
    adjust.linux.oomScoreAdj = seen.linux.oomScoreAdj = asked.oomScoreAdj;
  }
  if (asked.ioPriority !== undefined) {
    owners.claim('ioPriority', plugin);
    adjust.linux.ioPriority = seen.linux.ioPriority = asked.ioPriority;
  }
  if (asked.seccompPolicy !== undefined) {
    owners.claim('seccompPolicy', plugin);
    adjust.linux.seccompPolicy = seen.linux.seccompPolicy = asked.seccompPolicy;
  }
  if (asked.scheduler !== undefined) {
    owners.claim('scheduler', plugin);
    adjust.linux.scheduler = seen.linux.scheduler = asked.scheduler;
  }
  if (asked.memoryPolicy !== undefined) {
    owners.claim('memoryPolicy', plugin);
    adjust.linux.memoryPolicy = asked.memoryPolicy;
  }
}

const rdtFields = ['closId', 'schemata', 'enableMonitoring'] as const;

function mergeRdt({ seen, adjust }: Sides, asked: LinuxRdt | undefined, claimant: Claimant): void {
  if (asked === undefined) return;
  const { owners, plugin } = claimant;
  let rdt = adjust.linux.rdt ?? LinuxRdt.fromPartial({});
  if (asked.remove) {
    for (const field of rdtFields) owners.clear(`rdt.${field}`, plugin);
    rdt = LinuxRdt.fromPartial({ remove: true });
  }
  for (const field of rdtFields) {
    const value = asked[field];
    if (value === undefined) continue;
    owners.claim(`rdt.${field}`, plugin);
    rdt = { ...rdt, [field]: value, remove: false };
  }
  adjust.linux.rdt = rdt;
  seen.linux.rdt = rdt;
}
