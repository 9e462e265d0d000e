/** A program that runs beside what is tested or measured, its output in a file. */
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
  /** How often it has ended without having been asked to. */
  readonly deaths: number;
}

export interface BackgroundOptions {
  readonly log: string;
  /** A cgroup of its own, below the root of every hierarchy. */
  readonly group?: string;
  /** Start it again when it ends, as a service manager would, and keep its present pid in this file. */
  readonly keepWithPidFile?: string;
}

const cgroupRoot = '/sys/fs/cgroup';
const stopMs = 20_000;
const restartDelayMs = 500;

/** Starts `argv`, in the cgroup that the options name: the command moves itself before it becomes the program. */
export function startBackground(argv: readonly string[], options: BackgroundOptions): Background {
  const script = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"';
  const groups = options.group === undefined ? [] : makeGroup(options.group);
  const pidFile = options.keepWithPidFile;
  let child: ChildProcess | undefined;
  let deaths = 0;
  let isStopping = false;
  const start = (): void => {
    if (isStopping) return;
    const log = openSync(options.log, 'a');
    child = spawn('/bin/sh', ['-c', script, 'start', ...groups, '--', ...argv], {
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    if (pidFile !== undefined) writeFileSync(pidFile, String(child.pid ?? 0));
    child.once('exit', () => {
      child = undefined;
      if (isStopping) return;
      deaths += 1;
      if (pidFile !== undefined) setTimeout(start, restartDelayMs);
    });
  };
  start();
  return {
    get deaths() {
      return deaths;
    },
    [Symbol.asyncDispose]: async () => {
      isStopping = true;
      if (child !== undefined) await stop(child);
    },
  };
}

/** Waits until something listens on the unix socket. @throws Error when the process ends first, or time is up */
export async function untilListening(
  background: Background,
  options: { readonly socket: string; readonly log: string; readonly timeoutMs: number },
): Promise<void> {
  const deadline = Date.now() + options.timeoutMs;
  while (Date.now() < deadline && background.deaths === 0) {
    if (await listens(options.socket)) return;
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
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once('exit', () => resolve());
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await promise;
  clearTimeout(killer);
}
