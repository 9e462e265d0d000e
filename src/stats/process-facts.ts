/** What only the processes of a container can tell: read from the host's /proc, never by a program inside. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface ProcessFacts {
  readonly processes: number;
  readonly fileDescriptors: number;
  readonly sockets: number;
  /** Soft limits of the first process that is still there: `max_open_files` and so on; unlimited ones are absent. */
  readonly softLimits: readonly { readonly name: string; readonly value: bigint }[];
}

/** A process that ends meanwhile counts as far as it was read. */
export async function readProcessFacts(pids: readonly number[]): Promise<ProcessFacts> {
  let fileDescriptors = 0;
  let sockets = 0;
  let softLimits: ProcessFacts['softLimits'] = [];
  for (const pid of pids) {
    const directory = `/proc/${pid}/fd`;
    const names = attempt(() => readdirSync(directory)) ?? [];
    fileDescriptors += names.length;
    for (const name of names) {
      if (attempt(() => readlinkSync(`${directory}/${name}`))?.startsWith('socket:') === true) sockets += 1;
    }
    if (softLimits.length === 0)
      softLimits = parseLimits(attempt(() => readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? '');
    await nextTurn();
  }
  return { processes: pids.length, fileDescriptors, sockets, softLimits };
}

/** Lines such as `Max open files            1024                 4096                 files`. */
function parseLimits(text: string): ProcessFacts['softLimits'] {
  return text
    .split('\n')
    .map((line) => /^(Max [a-z ]+?)\s{2,}(\d+)\s/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({
      name: (match[1] ?? '').toLowerCase().replaceAll(' ', '_'),
      value: BigInt(match[2] ?? 0),
    }));
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
