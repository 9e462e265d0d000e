/** Reading the files of a cgroup. One that is not there (no such controller, or the cgroup is gone) is undefined, not an error. */
import { readdirSync, readFileSync } from 'node:fs';
import { errnoOf } from '../lib/errors.ts';

/** The trimmed text of a file. `directory` undefined: this host lacks the controller. */
export type ReadText = (directory: string | undefined, file: string) => string | undefined;

/** A `ReadText` that opens the file and closes it again. */
export function readText(directory: string | undefined, file: string): string | undefined {
  if (directory === undefined) return undefined;
  return unlessAbsent(() => readFileSync(`${directory}/${file}`, 'utf8').trim());
}

/** The result of opening or reading a file of a cgroup; undefined where it is not there. */
export function unlessAbsent<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    const code = errnoOf(error);
    // ENODEV: removed while it was open. EOPNOTSUPP: the file is there, the feature is off (PSI).
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENOTDIR' || code === 'EOPNOTSUPP')
      return undefined;
    throw error;
  }
}

/** The names in a cgroup's directory; none when it is gone. */
export function listNames(directory: string | undefined): string[] {
  if (directory === undefined) return [];
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return [];
    throw error;
  }
}

/** A single number; `max`, and what v1 writes for "no limit", are undefined. */
export function readNumber(
  directory: string | undefined,
  file: string,
  read: ReadText = readText,
): number | undefined {
  return parseLimit(read(directory, file));
}

/** Counters of nanoseconds and bytes that pass 2^53. */
export function readBigInt(
  directory: string | undefined,
  file: string,
  read: ReadText = readText,
): bigint | undefined {
  const text = read(directory, file);
  return text !== undefined && /^\d+$/.test(text) ? BigInt(text) : undefined;
}

/** Numbers by their names. */
export interface KeyedNumbers {
  get(key: string): bigint | undefined;
}

/** `key value` lines. Only those that are asked for are parsed: a cgroup's statistics are some fifty. */
export function readKeyed(
  directory: string | undefined,
  file: string,
  read: ReadText = readText,
): KeyedNumbers | undefined {
  const text = read(directory, file);
  if (text === undefined) return undefined;
  const lines = `\n${text}\n`;
  return {
    get: (key) => {
      const before = lines.indexOf(`\n${key} `);
      if (before === -1) return undefined;
      const start = before + key.length + 2;
      const value = lines.slice(start, lines.indexOf('\n', start));
      return /^\d+$/.test(value) ? BigInt(value) : undefined;
    },
  };
}

/** v1 has no word for "unlimited": it is the largest multiple of the page size. */
const legacyUnlimited = 0x7fff_ffff_0000_0000;

function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined;
  const value = Number(text);
  return value >= legacyUnlimited ? undefined : value;
}
