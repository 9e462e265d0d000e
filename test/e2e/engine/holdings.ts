/** What the daemon's process holds, in numbers and lines that can be compared. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

export interface Holdings {
  /** What each descriptor is, without the numbers of sockets and pipes, sorted. */
  readonly descriptors: readonly string[];
  /** Names of its threads, sorted. */
  readonly threads: readonly string[];
  /** Rows of each table of the database, `images 1`. */
  readonly rows: readonly string[];
}

const database = '/var/lib/gantry/state.db';

export function holdingsOf(pid: number): Holdings {
  return { descriptors: descriptors(pid), threads: threads(pid), rows: rows() };
}

function descriptors(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory)
    .flatMap((fd) => {
      try {
        return [readlinkSync(`${directory}/${fd}`).replace(/:\[\d+\]$/, '')];
      } catch {
        return [];
      }
    })
    .toSorted();
}

function threads(pid: number): string[] {
  const directory = `/proc/${pid}/task`;
  return readdirSync(directory)
    .flatMap((task) => {
      try {
        return [readFileSync(`${directory}/${task}/comm`, 'utf8').trim()];
      } catch {
        return [];
      }
    })
    .toSorted();
}

function rows(): string[] {
  const state = new DatabaseSync(database, { readOnly: true });
  try {
    const tables = state.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`).all();
    return tables.map(({ name }) => {
      const count = state.prepare(`SELECT count(*) AS count FROM ${String(name)}`).get();
      return `${String(name)} ${String(count?.['count'])}`;
    });
  } finally {
    state.close();
  }
}
