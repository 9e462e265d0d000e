/** `gantryd` as a process of its own, from the sources, with a configuration file of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keepRequests, tellingRequests } from './request-log.ts';

/** Where the daemon listens: its default, so that every client finds it. */
export const criSocket = '/run/gantry/gantry.sock';

const isVm = process.env['GANTRY_TEST_HOST'] === 'vm';
/** The sources; in an emulated VM what was built from them, because reading TypeScript takes half a minute there. */
const main = join(import.meta.dirname, '../../..', isVm ? 'dist/main.js' : 'src/main.ts');
const readyTimeoutMs = isVm ? 240_000 : 60_000;

export class DaemonProcess implements AsyncDisposable {
  readonly #config: string;
  readonly #log: string;
  #child: ChildProcess;
  #exited: Promise<number | NodeJS.Signals>;

  private constructor(config: string, log: string) {
    this.#config = config;
    this.#log = log;
    [this.#child, this.#exited] = this.#spawn();
  }

  /** Writes `toml` into a file below `directory`, starts the daemon with it and waits until its socket answers. */
  static async start(directory: string, toml = ''): Promise<DaemonProcess> {
    const config = join(directory, 'config.toml');
    writeFileSync(config, tellingRequests(toml));
    const daemon = new DaemonProcess(config, join(directory, 'gantryd.log'));
    await daemon.#untilReady();
    return daemon;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Everything that it has written so far, of all its lives. */
  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  /** Replaces the configuration file, for the next start. */
  configure(toml: string): void {
    writeFileSync(this.#config, tellingRequests(toml));
  }

  /** SIGTERM; resolves with the exit code, or the signal that ended it. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.#child.kill('SIGTERM');
    return await this.#exited;
  }

  /** SIGKILL, as the kernel's OOM killer would. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** Starts it again after `stop` or `kill`, and waits until it answers. */
  async startAgain(): Promise<void> {
    [this.#child, this.#exited] = this.#spawn();
    await this.#untilReady();
  }

  /** What its descriptors are, sorted, with numbers of sockets and pipes taken out: `socket`, `pipe`, `anon_inode:[pidfd]`. */
  descriptors(): readonly string[] {
    const directory = `/proc/${this.pid}/fd`;
    return readdirSync(directory)
      .flatMap((fd) => {
        try {
          return [readlinkSync(join(directory, fd)).replace(/:\[\d+\]$/, '')];
        } catch {
          return [];
        }
      })
      .toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const killer = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
      await this.stop();
      clearTimeout(killer);
    }
    const { log } = this;
    keepRequests(log);
    // Seen only when a test of the file fails.
    console.log(log.split('\n').slice(-200).join('\n'));
    const complaints = log.split('\n').filter((line) => /Warning: |unhandled|uncaught/i.test(line));
    assert.deepEqual(complaints, [], 'Node complained about the daemon');
  }

  #spawn(): [ChildProcess, Promise<number | NodeJS.Signals>] {
    const log = openSync(this.#log, 'a');
    const child = spawn(process.execPath, [main, '--config', this.#config], {
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const { promise, resolve, reject } = Promise.withResolvers<number | NodeJS.Signals>();
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? code ?? -1));
    return [child, promise];
  }

  async #untilReady(): Promise<void> {
    const deadline = Date.now() + readyTimeoutMs;
    while (Date.now() < deadline) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null)
        throw new Error(`gantryd ended before it was ready:\n${this.log}`);
      if (await answers(criSocket)) return;
      await sleep(30);
    }
    throw new Error(`gantryd does not answer on ${criSocket}:\n${this.log}`);
  }
}

async function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path, () => resolve(true));
  socket.on('error', () => resolve(false));
  return await promise.finally(() => socket.destroy());
}
