/** Reading, checking and printing the configuration (`/etc/gantry/config.toml` and `conf.d/*.toml` beside it). */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify, TomlError, type TomlTable } from 'smol-toml';
import type { z } from 'zod';
import { configSchema, type Config } from './config-schema.ts';
import { readBoundedFile } from './lib/bounded-file.ts';
import { EngineError, messageOf } from './lib/errors.ts';

export const defaultConfigPath = '/etc/gantry/config.toml';
const maxFileBytes = 1024 * 1024;

/**
 * Reads `path`, then each `conf.d/*.toml` beside it in lexical order, later keys over earlier ones.
 * A default path that does not exist means all defaults; one that was named must exist.
 *
 * @throws EngineError invalid-argument naming the file and the key
 */
export function loadConfig(path: string, options: { readonly mustExist: boolean }): Config {
  if (!existsSync(path) && options.mustExist)
    throw new EngineError('invalid-argument', `configuration file ${path} does not exist`);
  const files = [...(existsSync(path) ? [path] : []), ...dropIns(join(dirname(path), 'conf.d'))];
  let merged: TomlTable = {};
  for (const file of files) {
    const table = readToml(file);
    check(table, file);
    merged = merge(merged, table);
  }
  return check(merged, files.at(-1) ?? path);
}

/** The file that `gantryd config default` prints: every key with its default and, above it, what it does. */
export function printDefaultConfig(): string {
  const lines: string[] = ['# Gantry configuration: every key with its default.', ''];
  for (const row of describeConfig()) {
    if (row.key === undefined) lines.push('', `[${row.table}]`);
    else lines.push(`# ${row.meaning}`, `${row.key} = ${row.defaultToml}`);
  }
  return `${lines.join('\n')}\n`;
}

/** One row of the configuration: a table's head (no key), or a key of it. */
export interface ConfigRow {
  readonly table: string;
  readonly key?: string;
  readonly meaning?: string;
  readonly defaultToml?: string;
}

/** Every table and key of the schema, in file order. */
export function describeConfig(): ConfigRow[] {
  const defaults = configSchema.parse({});
  return describeTable('', configSchema, defaults);
}

function describeTable(
  table: string,
  schema: z.ZodObject,
  defaults: Readonly<Record<string, unknown>>,
): ConfigRow[] {
  const keys: ConfigRow[] = [];
  const tables: ConfigRow[] = [];
  for (const [name, field] of Object.entries(schema.shape)) {
    const inner = unwrap(field as z.ZodType);
    const value = defaults[name];
    const path = table === '' ? name : `${table}.${name}`;
    if (isObjectSchema(inner)) {
      tables.push({ table: path }, ...describeTable(path, inner, value as Record<string, unknown>));
    } else if (isPlainTable(value)) {
      for (const [entry, fields] of Object.entries(value))
        tables.push(
          { table: `${path}.${entry}` },
          ...entryRows(`${path}.${entry}`, fields, describe(field as z.ZodType)),
        );
    } else {
      keys.push({ table, key: name, meaning: describe(field as z.ZodType), defaultToml: tomlValue(value) });
    }
  }
  return [...keys, ...tables];
}

function entryRows(table: string, fields: unknown, meaning: string): ConfigRow[] {
  return Object.entries(fields as Record<string, unknown>).map(([key, value]) => ({
    table,
    key,
    meaning,
    defaultToml: tomlValue(value),
  }));
}

function unwrap(field: z.ZodType): z.ZodType {
  const inner = (field.def as { innerType?: z.ZodType }).innerType;
  return inner === undefined ? field : unwrap(inner);
}

function describe(field: z.ZodType): string {
  return field.description ?? '';
}

function isObjectSchema(field: z.ZodType): field is z.ZodObject {
  return field.type === 'object';
}

function isPlainTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function tomlValue(value: unknown): string {
  return stringify({ value })
    .trim()
    .replace(/^value = /, '');
}

function dropIns(directory: string): string[] {
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => name.endsWith('.toml'));
  return names.sort().map((name) => join(directory, name));
}

function readToml(file: string): TomlTable {
  try {
    return parse(readBoundedFile(file, maxFileBytes));
  } catch (error) {
    const where = error instanceof TomlError ? `${file}:${error.line}:${error.column}` : file;
    throw new EngineError(
      'invalid-argument',
      `read the configuration ${where}: ${messageOf(error).split('\n')[0] ?? ''}`,
      { cause: error },
    );
  }
}

function check(table: TomlTable, file: string): Config {
  const verdict = configSchema.safeParse(table);
  if (verdict.success) return verdict.data;
  const faults = verdict.error.issues.map((issue) => {
    // A bad key of a free table says why one level deeper.
    const why = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    return `${issue.path.join('.') || '(top level)'}: ${why}`;
  });
  throw new EngineError('invalid-argument', `configuration ${file}: ${faults.join('; ')}`);
}

function merge(base: TomlTable, over: TomlTable): TomlTable {
  const merged: TomlTable = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isTomlTable(below) && isTomlTable(value) ? merge(below, value) : value;
  }
  return merged;
}

function isTomlTable(value: unknown): value is TomlTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
