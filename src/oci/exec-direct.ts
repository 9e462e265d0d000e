/** An exec under the runtime itself, which hands our pipes on to the process: the cheapest way, without a monitor. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { ChildPipes } from '../linux/child-pipes.ts';
import { spawnProcess } from '../linux/command.ts';
import { OutputPipe } from './exec-output.ts';
import type { ExecArgs, ExecSession } from './exec-session.ts';
import { setOomScore } from './oom-score.ts';
import { killDescendants } from './process-tree.ts';
import { programOf } from './read-only-program.ts';
import { globalArguments, runtimeEnvironment, type RuntimeDeps } from './runtime-call.ts';
import { loggedError, runtimeError } from './runtime-error.ts';

/** Where the runtime reads which process to start. */
const processFd = 3;

/** Returns at once; needs a runtime that does not touch its standard streams, such as crun. */
export function startDirectExec(deps: RuntimeDeps, args: ExecArgs): ExecSession {
  const directory = mkdtempSync(`${args.directory}/exec-`);
  using cleanup = new DisposableStack();
  cleanup.defer(() => remove(directory));
  const logFile = `${directory}/log`;
  const { runtime, poller } = deps;
  const argv = [
    programOf(runtime),
    ...globalArguments(runtime),
    `--log=${logFile}`,
    '--log-format=json',
    'exec',
    '--process',
    `/proc/self/fd/${processFd}`,
    args.containerId,
  ];
  using pipes = new ChildPipes();
  const stdout = pipes.output(1);
  const stderr = pipes.output(2);
  const stdin = args.stdin ? pipes.input(0) : undefined;
  const description = pipes.input(processFd);
  const child = spawnProcess(argv, { fds: pipes.fds, env: runtimeEnvironment, newSession: true, poller });
  pipes.handOver();
  // Inherited from the runtime, which cannot fork before it has been told what to run.
  setOomScore(child.pid, args.process.oomScoreAdj);
  openInput(description).end(JSON.stringify(args.process));
  cleanup.move();
  const input = stdin === undefined ? undefined : openInput(stdin);
  const outputs = [new OutputPipe(stdout), new OutputPipe(stderr)] as const;
  const finish = (): string => {
    input?.destroy();
    for (const output of outputs) void output.finish();
    const log = readLog(logFile);
    remove(directory);
    return log;
  };
  return {
    stdin: input,
    stdout: outputs[0].stream,
    stderr: outputs[1].stream,
    exit: exitOf(child, args.containerId, finish),
    resize: () => undefined,
    killTree: () => killDescendants(child),
  };
}

async function exitOf(
  child: ReturnType<typeof spawnProcess>,
  containerId: string,
  finish: () => string,
): Promise<{ readonly exitCode: number }> {
  const { exitCode, signal } = await child.exited;
  const log = finish();
  // A process may end with the code that the runtime uses for its own failures: only the log tells them apart.
  if (exitCode !== 0 && loggedError(log)) {
    throw runtimeError(`exec in container ${containerId}`, log, `exit code ${exitCode}`);
  }
  return { exitCode: exitCode ?? 128 + (signal ?? 0) };
}

/** What cannot be removed, for want of descriptors, goes with the container's own directory. */
function remove(directory: string): void {
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch {
    // The exec's own end is what its caller has to hear of.
  }
}

function openInput(fd: number): Socket {
  const socket = new Socket({ fd, readable: false, writable: true });
  // Who ends without reading all of its input is no failure by that: the exit code tells.
  socket.on('error', () => undefined);
  return socket;
}

function readLog(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
