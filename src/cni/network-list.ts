/**
 * A network configuration list: the plugins that together attach a container to one network, in order
 * (CNI 1.1, "Network configuration format").
 */
import { z } from 'zod';
import { EngineError, messageOf } from '../lib/errors.ts';
import { spokenVersions } from './versions.ts';

/** One plugin's own keys. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>> | undefined;
  readonly [key: string]: unknown;
}

export interface NetworkList {
  readonly name: string;
  /** The versions that the list declares and that are spoken here; never empty. */
  readonly versions: readonly string[];
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConfig[];
  /** The document that describes the whole list without any other file: what the cache keeps for DEL. */
  readonly document: string;
  /** Where it came from, for messages. */
  readonly source: string;
}

/** What the CNI specification allows for names of networks and containers; it also keeps them inside a directory. */
export const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** A Linux interface's name as CNI allows it. */
export const interfaceNamePattern = /^(?!\.{1,2}$)[^/:\s]{1,15}$/;

const flag = z
  .union([z.boolean(), z.enum(['true', 'false', 'True', 'False', 'TRUE', 'FALSE'])])
  .default(false)
  .transform((value) => value === true || String(value).toLowerCase() === 'true');

const pluginSchema = z.looseObject({
  type: z.string().regex(/^[^/\s]+$/, 'must be the name of a plugin, without a path'),
  capabilities: z.record(z.string(), z.boolean()).optional(),
});

const headSchema = z.looseObject({
  name: z
    .string()
    .max(200)
    .regex(namePattern, 'must be letters, digits, "_", "." and "-", a letter or digit first'),
  cniVersion: z.string().optional(),
  cniVersions: z.array(z.string()).default([]),
  disableCheck: flag,
  disableGC: flag,
  loadOnlyInlinedPlugins: flag,
  plugins: z.array(pluginSchema).max(64).optional(),
});

/** What to read a configuration from. `siblings` gives the plugins of the folder named like the network. */
export interface ListSource {
  readonly source: string;
  readonly text: string;
  readonly siblings?: (networkName: string) => readonly PluginConfig[];
}

/**
 * Reads a list (`plugins`), or a single plugin's configuration (`type`), which becomes a list of one.
 *
 * @throws EngineError invalid-argument that names the source and the key
 */
export function parseNetworkList({ source, text, siblings }: ListSource): NetworkList {
  const document = parseObject(source, text);
  const isSingle = 'type' in document && !('plugins' in document);
  const head = check(source, headSchema, isSingle ? { ...document, plugins: [document] } : document);
  if (head.plugins === undefined && head.loadOnlyInlinedPlugins) {
    throw invalid(source, 'plugins: missing, though loadOnlyInlinedPlugins is true');
  }
  const inlined = head.plugins ?? [];
  const loaded = isSingle || head.loadOnlyInlinedPlugins ? [] : (siblings?.(head.name) ?? []);
  const plugins = [...inlined, ...loaded];
  if (plugins.length === 0) throw invalid(source, 'plugins: the list names no plugin');
  const complete = isSingle || loaded.length > 0 ? JSON.stringify(completeDocument(head, plugins)) : text;
  return {
    name: head.name,
    versions: declaredVersions(source, head),
    disableCheck: head.disableCheck,
    disableGC: head.disableGC,
    plugins,
    document: complete,
    source,
  };
}

/** Reads one plugin's configuration of a sibling folder. @throws EngineError invalid-argument */
export function parsePluginConfig(source: string, text: string): PluginConfig {
  return check(source, pluginSchema, parseObject(source, text));
}

/** True when a plugin of the list declares the capability. */
export function hasCapability(list: NetworkList, capability: string): boolean {
  return list.plugins.some((plugin) => plugin.capabilities?.[capability] === true);
}

function completeDocument(head: z.output<typeof headSchema>, plugins: readonly PluginConfig[]) {
  const { name, cniVersion, cniVersions, disableCheck, disableGC } = head;
  return { cniVersion, cniVersions, name, disableCheck, disableGC, loadOnlyInlinedPlugins: true, plugins };
}

function declaredVersions(source: string, head: z.output<typeof headSchema>): string[] {
  const declared = [...head.cniVersions, ...(head.cniVersion === undefined ? [] : [head.cniVersion])];
  if (declared.length === 0) throw invalid(source, 'cniVersion: missing');
  const spoken = spokenVersions.filter((version) => declared.includes(version));
  if (spoken.length > 0) return spoken;
  const key = head.cniVersion === undefined ? 'cniVersions' : 'cniVersion';
  throw invalid(
    source,
    `${key}: ${declared.join(', ')} is not spoken here (known: ${spokenVersions.join(', ')})`,
  );
}

function parseObject(source: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(source, `not JSON: ${messageOf(error)}`, error);
  }
  return check(source, z.record(z.string(), z.unknown(), 'must be a JSON object'), value);
}

function check<T>(source: string, schema: z.ZodType<T>, value: unknown): T {
  const verdict = schema.safeParse(value);
  if (verdict.success) return verdict.data;
  const faults = verdict.error.issues.map(
    (issue) => `${issue.path.join('.') || 'document'}: ${issue.message}`,
  );
  throw invalid(source, faults.join('; '));
}

function invalid(source: string, fault: string, cause?: unknown): EngineError {
  return new EngineError('invalid-argument', `network configuration ${source}: ${fault}`, { cause });
}
