/** A process that runs beside the suite, its output in a file. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Background extends AsyncDisposable {
  readonly child: ChildProcess;
}

const cgroupRoot = '/sys/fs/cgroup';
const stopMs = 20_000;

/** Starts `argv`, in a cgroup of its own when `group` names one. The command moves itself before it becomes the program. */
export function startBackground(
  argv: readonly string[],
  options: { readonly log: string; readonly group?: string },
): Background {
  const procs = options.group === undefined ? [] : makeGroup(options.group);
  const log = openSync(options.log, 'a');
  const script = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"';
  const child = spawn('/bin/sh', ['-c', script, 'start', ...procs, '--', ...argv], {
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  return { child, [Symbol.asyncDispose]: async () => await stop(child) };
}

/** Waits until something listens on the unix socket. @throws Error when the process ends first, or time is up */
export async function untilListening(
  background: Background,
  options: { readonly socket: string; readonly log: string; readonly timeoutMs: number },
): Promise<void> {
  const deadline = Date.now() + options.timeoutMs;
  while (Date.now() < deadline) {
    if (await listens(options.socket)) return;
    const { exitCode, signalCode } = background.child;
    if (exitCode !== null || signalCode !== null) break;
    await sleep(100);
  }
  throw new Error(`nothing listens on ${options.socket}:\n${readFileSync(options.log, 'utf8').slice(-5000)}`);
}

/** Makes the group in every hierarchy that this node has, and returns the files that processes enter it by. */
function makeGroup(name: string): string[] {
  const isUnified = existsSync(join(cgroupRoot, 'cgroup.controllers'));
  const hierarchies = isUnified
    ? [cgroupRoot]
    : readdirSync(cgroupRoot).map((hierarchy) => join(cgroupRoot, hierarchy));
  return hierarchies
    .filter((hierarchy) => existsSync(join(hierarchy, 'cgroup.procs')))
    .map((hierarchy) => {
      const group = join(hierarchy, name);
      mkdirSync(group, { recursive: true });
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        if (!isUnified && existsSync(join(group, file)))
          writeFileSync(join(group, file), readFileSync(join(hierarchy, file)));
      return join(group, 'cgroup.procs');
    });
}

async function listens(socket: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const connection = connect(socket, () => resolve(true));
  connection.on('error', () => resolve(false));
  return await promise.finally(() => connection.destroy());
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once('exit', () => resolve());
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await promise;
  clearTimeout(killer);
}
