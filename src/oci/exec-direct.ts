/** An exec under the runtime itself, which hands our pipes on to the process: the cheapest way, without a monitor. */
import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { spawnProcess } from '../linux/command.ts';
import { createPipe } from '../linux/pipe.ts';
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
  cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
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
  const stdout = createPipe();
  const stderr = createPipe();
  const stdin = args.stdin ? createPipe() : undefined;
  const fds = new Map([
    [1, stdout.write],
    [2, stderr.write],
  ]);
  if (stdin !== undefined) fds.set(0, stdin.read);
  let child: ReturnType<typeof spawnProcess>;
  try {
    child = spawnProcess(argv, { fds, env: runtimeEnvironment, newSession: true, poller });
    // Inherited from the runtime, which has only just begun: it forks some milliseconds from now.
    setOomScore(child.pid, args.process.oomScoreAdj);
  } catch (error) {
    for (const fd of [stdout.read, stderr.read, stdin?.write]) if (fd !== undefined) closeSync(fd);
    throw error;
  } finally {
    for (const fd of fds.values()) closeSync(fd);
  }
  cleanup.move();
  const input = stdin === undefined ? undefined : openInput(stdin.write);
  const outputs = [new OutputPipe(stdout.read), new OutputPipe(stderr.read)] as const;
  const finish = (): string => {
    input?.destroy();
    for (const output of outputs) void output.finish();
    const log = readLog(logFile);
    rmSync(directory, { recursive: true, force: true });
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
