import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { parseNetworkList, parsePluginConfig, type NetworkList, type PluginConfig } from './network-list.ts';

/** What a configuration directory holds. */
export interface LoadedNetworks {
  /** The lexically first valid one: the pods' network. */
  readonly list: NetworkList | undefined;
  /** Configurations before it that could not be used, each in a message that names the file and the key. */
  readonly faults: readonly string[];
  /** True when there is no configuration at all, not even an invalid one. */
  readonly isEmpty: boolean;
}

const maxFileBytes = 1024 * 1024;
const listExtensions = ['.conflist', '.conf', '.json'];

/** Reads the directory; one that does not exist is empty. Never throws for what the directory holds. */
export function loadNetworkList(directory: string): LoadedNetworks {
  const faults: string[] = [];
  let names: string[];
  try {
    names = configNames(directory, listExtensions);
  } catch (error) {
    return { list: undefined, faults: [`read ${directory}: ${messageOf(error)}`], isEmpty: false };
  }
  for (const name of names) {
    try {
      return { list: loadFile(join(directory, name), directory), faults, isEmpty: false };
    } catch (error) {
      faults.push(messageOf(error));
    }
  }
  return { list: undefined, faults, isEmpty: names.length === 0 };
}

function loadFile(source: string, directory: string): NetworkList {
  return parseNetworkList({
    source,
    text: readConfig(source),
    siblings: (networkName) => loadSiblings(join(directory, networkName)),
  });
}

function loadSiblings(folder: string): PluginConfig[] {
  return configNames(folder, ['.conf']).map((name) => {
    const source = join(folder, name);
    return parsePluginConfig(source, readConfig(source));
  });
}

/** The names of the directory's configuration files, sorted by code unit. */
function configNames(directory: string, extensions: readonly string[]): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory() && extensions.includes(extname(entry.name)));
    return files.map((entry) => entry.name).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function readConfig(path: string): string {
  try {
    const facts = statSync(path);
    // A directory entry may be a FIFO or a device: reading it would never end.
    if (!facts.isFile()) throw new Error('not a regular file');
    if (facts.size > maxFileBytes) throw new Error(`larger than ${maxFileBytes} bytes`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new EngineError('invalid-argument', `network configuration ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
