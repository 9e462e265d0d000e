/** The CNI configuration of this host: read, then judged. */
import { fastPathObstacle } from '../cni/plugin-chain.ts';
import { findPlugin } from '../cni/exec-plugin.ts';
import { loadNetworkList } from '../cni/load-network-list.ts';
import { createInProcessPlugins } from '../cni/plugins/in-process-plugins.ts';
import { findingsOf, type Finding } from './finding.ts';

export interface NetworkDirectories {
  /** Such as /etc/cni/net.d. */
  readonly confDir: string;
  /** Searched for plugins' programs, in order. */
  readonly binDirs: readonly string[];
}

export interface NetworkConfigurationFacts {
  readonly directories: NetworkDirectories;
  /** Configurations that cannot be used, each in a message that names the file and the key. */
  readonly faults: readonly string[];
  readonly isEmpty: boolean;
  readonly network: NetworkFacts | undefined;
}

interface NetworkFacts {
  readonly name: string;
  readonly source: string;
  readonly plugins: readonly string[];
  /** Plugins without a program in `binDirs`. */
  readonly missing: readonly string[];
  /** Why the engine cannot do it all by itself; undefined when it can, and needs no program. */
  readonly obstacle: string | undefined;
}

export async function readNetworkConfiguration(
  directories: NetworkDirectories,
): Promise<NetworkConfigurationFacts> {
  const { list, faults, isEmpty } = loadNetworkList(directories.confDir);
  if (list === undefined) return { directories, faults, isEmpty, network: undefined };
  const plugins = [...new Set(list.plugins.flatMap((plugin) => [plugin.type, ...ipamOf(plugin)]))];
  const missing: string[] = [];
  for (const plugin of plugins)
    await findPlugin(plugin, directories.binDirs).catch(() => missing.push(plugin));
  const inProcess = createInProcessPlugins();
  const obstacle = fastPathObstacle({ inProcess }, list);
  return {
    directories,
    faults,
    isEmpty,
    network: { name: list.name, source: list.source, plugins, missing, obstacle },
  };
}

export function judgeNetworkConfiguration(facts: NetworkConfigurationFacts): Finding[] {
  const finding = findingsOf('network');
  const { network, directories } = facts;
  const faults = facts.faults.map((fault) =>
    finding('CNI configuration', 'warning', `${fault}; mend or remove it`),
  );
  if (network === undefined) {
    const text = facts.isEmpty
      ? `${directories.confDir} is empty: pods are on Gantry's built-in network until a configuration appears`
      : `no configuration in ${directories.confDir} can be used: pods get no network`;
    return [...faults, finding('CNI network', facts.isEmpty ? 'ok' : 'problem', text)];
  }
  const named = `${network.name} of ${network.source} (${network.plugins.join(', ')})`;
  if (network.obstacle === undefined)
    return [
      ...faults,
      finding('CNI network', 'ok', `${named}, by the engine itself: no plugin's program is needed`),
    ];
  if (network.missing.length === 0)
    return [...faults, finding('CNI network', 'ok', `${named}, by the plugins' programs`)];
  return [
    ...faults,
    finding(
      'CNI network',
      'problem',
      `${named}: no program for ${network.missing.join(', ')} in ${directories.binDirs.join(', ')}; apt-get install containernetworking-plugins, or install what the network's maker gives`,
    ),
  ];
}

function ipamOf(plugin: Readonly<Record<string, unknown>>): string[] {
  const ipam = plugin['ipam'];
  const type = typeof ipam === 'object' && ipam !== null && 'type' in ipam ? ipam.type : undefined;
  return typeof type === 'string' && type !== '' ? [type] : [];
}
