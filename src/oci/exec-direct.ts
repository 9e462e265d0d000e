/** An exec under the runtime itself, which hands our pipes on to the process: the cheapest way, without a monitor. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { ChildPipes } from '../linux/child-pipes.ts';
import { spawnProcess } from '../linux/command.ts';
import { OutputPipe } from './exec-output.ts';
import type { ExecArgs, ExecSession } from './exec-session.ts';
import { setOomScore } from './oom-score.ts';
import { killDescendants } from './process-tree.ts';
import { globalArguments, runtimeEnvironment, type RuntimeDeps } from './runtime-call.ts';
import { loggedError, runtimeError } from './runtime-error.ts';

/** Returns at once; needs a runtime that does not touch its standard streams, such as crun. */
export function startDirectExec(deps: RuntimeDeps, args: ExecArgs): ExecSession {
  const directory = mkdtempSync(`${args.directory}/exec-`);
  using cleanup = new DisposableStack();
  cleanup.defer(() => remove(directory));
  writeFileSync(`${directory}/process.json`, JSON.stringify(args.process), { mode: 0o600 });
  const logFile = `${directory}/log`;
  const { runtime, poller } = deps;
  const argv = [
    runtime.path,
    ...globalArguments(runtime),
    `--log=${logFile}`,
    '--log-format=json',
    'exec',
    '--process',
    `${directory}/process.json`,
    args.containerId,
  ];
  using pipes = new ChildPipes();
  const stdout = pipes.output(1);
  const stderr = pipes.output(2);
  const stdin = args.stdin ? pipes.input(0) : undefined;
  const child = spawnProcess(argv, { fds: pipes.fds, env: runtimeEnvironment, newSession: true, poller });
  pipes.handOver();
  // Inherited from the runtime, which has only just begun: it forks some milliseconds from now.
  setOomScore(child.pid, args.process.oomScoreAdj);
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
  // A process that ends without reading all of its input is no failure: its exit code tells.
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
