/** Numbers as people read and write them. Pure. */

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** The time between two moments in its greatest unit: `42s`, `3m`, `5h`, `12d`. */
export function formatAge(fromMs: number, nowMs: number): string {
  const ageMs = Math.max(0, nowMs - fromMs);
  if (ageMs < minute) return `${Math.floor(ageMs / second)}s`;
  if (ageMs < hour) return `${Math.floor(ageMs / minute)}m`;
  if (ageMs < 2 * day) return `${Math.floor(ageMs / hour)}h`;
  return `${Math.floor(ageMs / day)}d`;
}

/** How long something took, with three digits or so: `0.04ms`, `12.3ms`, `4.56s`, `3m07s`. */
export function formatDuration(ms: number): string {
  if (ms < 9.995) return `${ms.toFixed(2)}ms`;
  if (ms < 999.95) return `${ms.toFixed(1)}ms`;
  if (ms < minute) return `${(ms / second).toFixed(2)}s`;
  const seconds = Math.round(ms / second);
  return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes with three digits at most: `512B`, `1.5MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)}${byteUnits[unit]}`;
}

/** The first 12 digits of an id, without the name of its hash. */
export function shortId(id: string): string {
  return id.replace(/^sha\d+:/, '').slice(0, 12);
}

/** ISO 8601 of a time in the CRI's nanoseconds; undefined for 0, which stands for never. */
export function isoOfNs(ns: bigint): string | undefined {
  return ns === 0n ? undefined : new Date(Number(ns / 1_000_000n)).toISOString();
}

const durationUnits: Readonly<Record<string, number>> = { s: second, m: minute, h: hour, d: day };

/** Reads `90`, `90s`, `10m`, `1h30m`, `2d` as milliseconds; undefined if it is none of these. */
export function parseDurationMs(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * second;
  if (!/^(?:\d+[smhd])+$/.test(text)) return undefined;
  let totalMs = 0;
  for (const [, count, unit = ''] of text.matchAll(/(\d+)([smhd])/g))
    totalMs += Number(count) * (durationUnits[unit] ?? 0);
  return totalMs;
}
