/** A container's log on our own standard output and error. */
import { isKind } from '../lib/errors.ts';
import type { Cri } from './client.ts';
import { write } from './connection.ts';
import { readLog } from './log-file.ts';
import { LogPrinter, type LogSelection } from './log-lines.ts';
import { containerStateName } from './states.ts';

export interface ShownLog extends LogSelection {
  readonly path: string;
  readonly tail?: number | undefined;
  /** The container whose end ends the log; without it what is there is shown. */
  readonly followedId?: string | undefined;
  readonly signal: AbortSignal;
}

export async function showLog(cri: Cri, shown: ShownLog): Promise<void> {
  const { path, tail, signal, followedId } = shown;
  const printer = new LogPrinter(shown);
  const follow =
    followedId === undefined ? undefined : { hasEnded: async () => await hasEnded(cri, followedId) };
  for await (const line of readLog({ path, tail, follow, signal })) {
    if (signal.aborted) return;
    const text = printer.render(line);
    if (text !== undefined) await write(line.stream === 'stdout' ? process.stdout : process.stderr, text);
  }
}

/** A container that was removed has ended too. */
async function hasEnded({ runtime }: Cri, containerId: string): Promise<boolean> {
  try {
    const { status } = await runtime.containerStatus({ containerId });
    return status === undefined || containerStateName(status.state) === 'exited';
  } catch (error) {
    if (isKind(error, 'not-found')) return true;
    throw error;
  }
}
