/** Reading a plugin's configuration: which keys are known, and errors that say where the fault is. */
import type { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';

/** Keys that the protocol itself puts into a plugin's configuration. */
const protocolKeys: ReadonlySet<string> = new Set([
  'type',
  'name',
  'cniVersion',
  'cniVersions',
  'capabilities',
  'runtimeConfig',
  'prevResult',
  'args',
]);

/** The first key that is neither the protocol's nor among `known`. */
export function unknownKey(
  config: Readonly<Record<string, unknown>>,
  known: ReadonlySet<string>,
): string | undefined {
  return Object.keys(config).find((key) => !protocolKeys.has(key) && !known.has(key));
}

/** @throws EngineError failed-precondition (the node's configuration has to change) that names network, plugin and key */
export function readConfig<S extends z.ZodType>(
  schema: S,
  plugin: string,
  config: Readonly<Record<string, unknown>>,
): z.output<S> {
  const verdict = schema.safeParse(config);
  if (verdict.success) return verdict.data;
  const faults = verdict.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw configError(plugin, config, faults.join('; '));
}

/** The error of a configuration that cannot work. */
export function configError(
  plugin: string,
  config: Readonly<Record<string, unknown>>,
  fault: string,
): EngineError {
  const network = typeof config['name'] === 'string' ? config['name'] : '?';
  return new EngineError('failed-precondition', `network ${network}, plugin ${plugin}: ${fault}`);
}
