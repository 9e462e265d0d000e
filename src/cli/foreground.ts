/** `gantry run` in the foreground: the container's input and output are ours, and its exit code too. */
import { EngineError } from '../lib/errors.ts';
import type { Cri } from './client.ts';
import { write } from './connection.ts';
import type { Interrupt } from './interrupt.ts';
import { readLog } from './log-file.ts';
import { LogPrinter } from './log-lines.ts';
import type { PodOfOne } from './pod-of-one.ts';
import { runRemoteCommand } from './remote-command.ts';
import { showLog } from './show-log.ts';
import { removePodsOf, type StartedPod } from './start-pod.ts';
import { containerStateName } from './states.ts';
import { rawTerminal, watchSize } from './terminal.ts';

export interface Foreground extends StartedPod {
  readonly pod: PodOfOne;
  readonly removeAtEnd: boolean;
  readonly interrupt: Interrupt;
}

const exitPollMs = 100;
const stopSeconds = 10;

/** Shows the container until it has ended or Ctrl-C stops it. Gives its exit code. */
export async function runInForeground(cri: Cri, foreground: Foreground): Promise<number> {
  const { pod, containerId, removeAtEnd } = foreground;
  await using cleanup = new AsyncDisposableStack();
  if (removeAtEnd) cleanup.defer(async () => await removePodsOf(cri, pod.uid));
  const path = await logPathOf(cri, containerId);
  if (pod.stdin || pod.tty) await attach(cri, foreground, path);
  else
    await showLog(cri, {
      path,
      timestamps: false,
      followedId: containerId,
      signal: foreground.interrupt.signal,
    });
  if (foreground.interrupt.signal.aborted)
    await cri.runtime.stopContainer({ containerId, timeout: BigInt(stopSeconds) });
  return await exitCodeOfContainer(cri, containerId);
}

async function attach(cri: Cri, { pod, containerId, interrupt }: Foreground, path: string): Promise<void> {
  const tty = pod.tty;
  const output = new LateJoin(path);
  try {
    const { url } = await cri.runtime.attach({
      containerId,
      stdin: pod.stdin,
      stdout: true,
      stderr: !tty,
      tty,
    });
    using _ = tty && pod.stdin ? rawTerminal(process.stdin) : undefined;
    const stopped = Promise.withResolvers<number>();
    interrupt.signal.addEventListener('abort', () => stopped.resolve(0), { once: true });
    await Promise.race([
      runRemoteCommand({
        url,
        stdin: pod.stdin ? process.stdin : undefined,
        stdout: async (data) => await output.write(process.stdout, data),
        stderr: async (data) => await output.write(process.stderr, data),
        watchSize: tty ? watchSize : undefined,
      }),
      stopped.promise,
    ]);
  } catch (error) {
    // A container that ended before we were there is no failure: its log has all it said.
    if (!(await hasEnded(cri, containerId))) throw error;
  }
  await output.finish();
}

/** Attaching shows what is written from then on; what was written before is in the log. Nothing is shown twice. */
class LateJoin {
  readonly #path: string;
  #begun = false;

  constructor(path: string) {
    this.#path = path;
  }

  async write(stream: NodeJS.WriteStream, data: Buffer): Promise<void> {
    if (this.#begun) {
      await write(stream, data);
      return;
    }
    this.#begun = true;
    const logged = await this.#showLogged(stream);
    await write(stream, data.subarray(overlap(logged, data)));
  }

  async finish(): Promise<void> {
    if (this.#begun) return;
    this.#begun = true;
    await this.#showLogged(process.stdout);
  }

  /** Shows all that the log holds; gives back what of it went to `stream`. */
  async #showLogged(stream: NodeJS.WriteStream): Promise<Buffer> {
    const printer = new LogPrinter({ timestamps: false });
    const shown: Buffer[] = [];
    for await (const line of readLog({ path: this.#path })) {
      const target = line.stream === 'stdout' ? process.stdout : process.stderr;
      const text = printer.render(line) ?? Buffer.alloc(0);
      await write(target, text);
      if (target === stream) shown.push(text);
    }
    return Buffer.concat(shown);
  }
}

/** How many bytes at the beginning of `next` are the end of `seen` already. */
export function overlap(seen: Buffer, next: Buffer): number {
  for (let length = Math.min(seen.length, next.length); length > 0; length -= 1)
    if (seen.subarray(seen.length - length).equals(next.subarray(0, length))) return length;
  return 0;
}

async function logPathOf({ runtime }: Cri, containerId: string): Promise<string> {
  const { status } = await runtime.containerStatus({ containerId });
  return status?.logPath ?? '';
}

async function hasEnded({ runtime }: Cri, containerId: string): Promise<boolean> {
  const { status } = await runtime.containerStatus({ containerId });
  return status !== undefined && containerStateName(status.state) === 'exited';
}

/** The streams end a moment before the exit code is known. */
async function exitCodeOfContainer({ runtime }: Cri, containerId: string): Promise<number> {
  for (;;) {
    const { status } = await runtime.containerStatus({ containerId });
    if (status === undefined) throw new EngineError('not-found', 'the container was removed meanwhile');
    if (containerStateName(status.state) === 'exited') return status.exitCode;
    await new Promise((resolve) => setTimeout(resolve, exitPollMs));
  }
}
