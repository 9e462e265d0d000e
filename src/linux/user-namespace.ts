/**
 * Making user namespaces. No process with several threads can: a child does, and holds the namespaces for as long as it
 * lives. A network, IPC or UTS namespace belongs to the user namespace in which it was made, so the same child makes those.
 */
import { closeSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { ChildPipes } from './child-pipes.ts';
import { CommandError, runCommand, spawnProcess } from './command.ts';
import type { NamespaceThread, PinRequest } from './namespace-thread.ts';
import type { Poller } from './poll.ts';
import { programPath } from './program.ts';
import { type NamespaceKind, parseSysctl, type Sysctl } from './sysctl.ts';

/** A range of ids: `containerId` and those after it in the namespace are `hostId` and those after it outside. */
interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

/** The ids that a user namespace has. */
export interface IdMappings {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/** A process in namespaces of its own, `/proc/<pid>/ns/user` and so on. Disposing ends it. */
interface NamespaceHolder extends AsyncDisposable {
  readonly pid: number;
}

const startTimeoutMs = 30_000;

/**
 * Starts a process in a new user namespace with these ids, and in new namespaces of these kinds, which belong to it.
 *
 * @throws EngineError failed-precondition when the kernel makes none, invalid-argument when it refuses the ids
 */
export async function startInUserNamespace(
  poller: Poller,
  mappings: IdMappings,
  kinds: readonly NamespaceKind[] = [],
): Promise<NamespaceHolder> {
  using pipes = new ChildPipes();
  const input = pipes.input(0);
  const output = pipes.output(1);
  // It ends with its input, however this process ends.
  const child = spawnProcess(['unshare', '--user', ...kinds.map((kind) => `--${kind}`), 'cat'], {
    fds: new Map([...pipes.fds, [2, pipes.fds.get(1) ?? -1]]),
    env: { PATH: programPath, LC_ALL: 'C' },
    newSession: true,
    poller,
  });
  pipes.handOver();
  // Now, not at the end: a pipe whose writing end we hold would never be seen to end.
  pipes[Symbol.dispose]();
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => {
    child.kill('SIGKILL');
    await child.exited;
  });
  undo.defer(() => closeSync(input));
  await awaitEcho(input, output);
  writeMappings(child.pid, mappings);
  const running = undo.move();
  return { pid: child.pid, [Symbol.asyncDispose]: async () => await running.disposeAsync() };
}

/** Makes and pins namespaces as the thread's `pin` does, in a new user namespace with these ids, which is pinned too. */
export async function pinInUserNamespace(
  deps: { readonly thread: NamespaceThread; readonly poller: Poller },
  mappings: IdMappings,
  request: PinRequest,
): Promise<void> {
  const { kinds } = request;
  const outside: [name: string, value: string][] = [];
  await using holder = await startInUserNamespace(deps.poller, mappings, kinds);
  for (const [name, value] of Object.entries(request.sysctls ?? {})) {
    const sysctl = parseSysctl(name, value);
    // Only the root of the user namespace may write those of its IPC namespace.
    if (sysctl.kind === 'ipc' && kinds.includes('ipc')) await writeInside(holder.pid, sysctl);
    else outside.push([name, value]);
  }
  await deps.thread.pin({ ...request, sysctls: Object.fromEntries(outside), ofProcess: holder.pid });
}

/** What `cat` gives back proves that the namespaces are there; anything else is `unshare` that says why not. */
async function awaitEcho(input: number, output: number): Promise<void> {
  const answer = Promise.withResolvers<string>();
  const socket = new Socket({ fd: output, readable: true, writable: false });
  socket.once('data', (chunk: Buffer) => answer.resolve(chunk.toString('utf8')));
  socket.once('close', () => answer.resolve('unshare ended'));
  socket.on('error', () => undefined);
  const timer = setTimeout(() => answer.resolve(`no answer within ${startTimeoutMs} ms`), startTimeoutMs);
  try {
    writeSync(input, '\n');
    const text = await answer.promise;
    if (text !== '\n')
      throw new EngineError('failed-precondition', `make a user namespace: ${text.trim().slice(0, 200)}`);
  } catch (error) {
    if (errnoOf(error) !== 'EPIPE') throw error;
    const text = await answer.promise;
    throw new EngineError('failed-precondition', `make a user namespace: ${text.trim().slice(0, 200)}`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function writeMappings(pid: number, { uids, gids }: IdMappings): void {
  try {
    writeFileSync(`/proc/${pid}/uid_map`, mapText(uids));
    writeFileSync(`/proc/${pid}/gid_map`, mapText(gids));
  } catch (error) {
    throw new EngineError(
      'invalid-argument',
      `the kernel refuses these ids of a user namespace: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

function mapText(ranges: readonly IdRange[]): string {
  return ranges.map(({ containerId, hostId, length }) => `${containerId} ${hostId} ${length}\n`).join('');
}

/** nsenter becomes the root of the user namespace, and so may write what belongs to it. */
async function writeInside(pid: number, { name, path, value }: Sysctl): Promise<void> {
  try {
    const argv = ['nsenter', `--user=/proc/${pid}/ns/user`, `--ipc=/proc/${pid}/ns/ipc`, 'tee', path];
    await runCommand(argv, { input: value, check: true });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const message = `sysctl ${name} cannot be set to ${JSON.stringify(value)}: ${error.stderr.trim()}`;
    throw new EngineError('invalid-argument', message, { cause: error });
  }
}
