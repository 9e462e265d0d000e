/** An exec under a conmon of its own: for terminals, and for runtimes that cannot hand our descriptors on. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { connectSeqpacket } from '../linux/seqpacket.ts';
import { MonitorStreams } from './attach.ts';
import { ConmonProcess } from './conmon.ts';
import type { ExecArgs, ExecSession } from './exec-session.ts';
import { TerminalResizer, type TerminalSize } from './monitor-control.ts';
import type { MonitorDeps } from './monitor.ts';
import { setOomScore } from './oom-score.ts';
import { killDescendants } from './process-tree.ts';
import { programOf } from './read-only-program.ts';
import { globalArguments } from './runtime-call.ts';
import { runtimeError } from './runtime-error.ts';

const startTimeoutMs = 120_000;

/** Returns at once; the streams connect when conmon is ready. */
export function startMonitoredExec(deps: MonitorDeps, args: ExecArgs): ExecSession {
  const directory = mkdtempSync(`${args.directory}/exec-`);
  using cleanup = new DisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(`${directory}/process.json`, JSON.stringify(args.process), { mode: 0o600 });
  const launch = { args: execArguments(deps, args, directory), directory, withAttachPipe: true };
  const conmon = ConmonProcess.start(deps, launch);
  cleanup.move();
  const streams = new MonitorStreams();
  const window = new PendingWindow(directory);
  if (!args.stdin) streams.stdin.destroy();
  return {
    stdin: args.stdin ? streams.stdin : undefined,
    stdout: streams.stdout,
    stderr: streams.stderr,
    exit: run(deps, {
      containerId: args.containerId,
      oomScoreAdj: args.process.oomScoreAdj,
      directory,
      conmon,
      streams,
      window,
    }),
    resize: (size) => {
      if (args.process.terminal === true) window.resize(size);
    },
    killTree: () => killDescendants(conmon),
  };
}

interface Running {
  readonly containerId: string;
  readonly oomScoreAdj: number | undefined;
  readonly directory: string;
  readonly conmon: ConmonProcess;
  readonly streams: MonitorStreams;
  readonly window: PendingWindow;
}

async function run(deps: MonitorDeps, running: Running): Promise<{ readonly exitCode: number }> {
  const { conmon, streams, window } = running;
  const what = `exec in container ${running.containerId}`;
  const wait = { what, timeoutMs: startTimeoutMs };
  try {
    conmon.admit();
    await Promise.all([conmon.attachIsReady(wait), conmon.moveBy(deps.conmon.place)]);
    streams.connect(await connectSeqpacket(`${running.directory}/attach`, deps.poller));
    conmon.startProcess();
    const started = await conmon.answer(wait);
    if (started.data <= 0) {
      throw runtimeError(what, started.message ?? '', 'the runtime failed without a message');
    }
    conmon.takeOomScoreOfDaemon();
    setOomScore(started.data, running.oomScoreAdj);
    window.open();
    const ended = await conmon.answer({ what });
    return { exitCode: ended.data };
  } catch (error) {
    conmon.kill();
    streams.close();
    throw error;
  } finally {
    window[Symbol.dispose]();
    conmon[Symbol.dispose]();
    await conmon.exited;
    rmSync(running.directory, { recursive: true, force: true });
  }
}

/** Keeps the size that is set before conmon has its control FIFO. */
class PendingWindow implements Disposable {
  readonly #resizer: TerminalResizer;
  #isOpen = false;
  #pending: TerminalSize | undefined;

  constructor(directory: string) {
    this.#resizer = new TerminalResizer(directory);
  }

  resize(size: TerminalSize): void {
    if (this.#isOpen) this.#resizer.resize(size);
    else this.#pending = size;
  }

  open(): void {
    this.#isOpen = true;
    if (this.#pending !== undefined) this.#resizer.resize(this.#pending);
  }

  [Symbol.dispose](): void {
    this.#isOpen = false;
    this.#resizer[Symbol.dispose]();
  }
}

function execArguments({ runtime }: MonitorDeps, args: ExecArgs, directory: string): string[] {
  return [
    '--api-version=1',
    '--sync',
    '--full-attach',
    '--exec',
    '--exec-attach',
    `--exec-process-spec=${directory}/process.json`,
    `--cid=${args.containerId}`,
    `--cuuid=${basename(directory)}`,
    `--runtime=${programOf(runtime)}`,
    ...globalArguments(runtime).map((argument) => `--runtime-arg=${argument}`),
    `--bundle=${directory}`,
    `--container-pidfile=${directory}/pidfile`,
    '--log-path=none',
    ...(args.process.terminal === true ? ['--terminal'] : []),
    ...(args.stdin ? ['--stdin'] : []),
  ];
}
