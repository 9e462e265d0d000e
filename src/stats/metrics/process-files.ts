/** What only /proc tells of a container's processes: open files and limits. Read from the host, never by a program inside. */
import { readFileSync, readlinkSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** A number is absent when it could not be read, or when counting it would have taken too long. */
export interface OpenFiles {
  readonly fileDescriptors?: number;
  readonly sockets?: number;
}

export interface SoftLimit {
  /** `max_open_files` and so on. */
  readonly name: string;
  readonly value: bigint;
}

interface CountBounds {
  readonly processes: number;
  /** Of links that are read to tell sockets from other files. */
  readonly links: number;
}

const defaultBounds: CountBounds = { processes: 4096, links: 32_768 };
// Reading a link takes a microsecond or two: other requests get their turn in between.
const linksPerTurn = 512;

/** A process that ends meanwhile counts as far as it was read. */
export async function readOpenFiles(
  pids: readonly number[],
  bounds = defaultBounds,
  proc = '/proc',
): Promise<OpenFiles> {
  if (pids.length > bounds.processes) return {};
  let fileDescriptors = 0;
  let sockets = 0;
  let isRead = false;
  for (const pid of pids) {
    const directory = `${proc}/${pid}/fd`;
    const names = await readdir(directory).catch(() => undefined);
    if (names === undefined) continue;
    isRead = true;
    fileDescriptors += names.length;
    if (fileDescriptors <= bounds.links) sockets += await countSockets(directory, names);
  }
  if (!isRead) return {};
  return fileDescriptors <= bounds.links ? { fileDescriptors, sockets } : { fileDescriptors };
}

async function countSockets(directory: string, names: readonly string[]): Promise<number> {
  let sockets = 0;
  for (const [index, name] of names.entries()) {
    if (index % linksPerTurn === linksPerTurn - 1) await nextTurn();
    if (isSocket(`${directory}/${name}`)) sockets += 1;
  }
  return sockets;
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    // Closed since the directory was read.
    return false;
  }
}

/** None when the process is gone. */
export function readSoftLimits(pid: number | undefined, proc = '/proc'): readonly SoftLimit[] {
  if (pid === undefined) return [];
  try {
    return parseLimits(readFileSync(`${proc}/${pid}/limits`, 'utf8'));
  } catch {
    return [];
  }
}

/** Lines such as `Max open files            1024                 4096                 files`; unlimited ones are left out. */
function parseLimits(text: string): SoftLimit[] {
  return text
    .split('\n')
    .map((line) => /^(Max [a-z ]+?)\s{2,}(\d+)\s/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({
      name: (match[1] ?? '').toLowerCase().replaceAll(' ', '_'),
      value: BigInt(match[2] ?? 0),
    }));
}
