/** The real crictl, from PATH. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { criSocket } from './daemon.ts';

/** Why tests of crictl cannot run here, or undefined. */
export function crictlSkipReason(): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, 'crictl'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return onPath
    ? undefined
    : 'crictl (kubernetes-sigs/cri-tools) is not on PATH, and no package registry has it';
}

const untilOutputLimitMs = 60_000;

export interface CrictlResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A crictl that goes on by itself: `logs -f`, `events`, `port-forward`. */
export interface RunningCrictl extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Waits until its output matches. @throws Error when it ends without having said so */
  untilOutput(pattern: RegExp): Promise<string>;
  readonly ended: Promise<CrictlResult>;
}

export class Crictl implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'gantry-crictl-'));
  #files = 0;

  constructor() {
    writeFileSync(
      join(this.#directory, 'crictl.yaml'),
      `runtime-endpoint: unix://${criSocket}\nimage-endpoint: unix://${criSocket}\ntimeout: 100\n`,
    );
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Runs it to its end, whatever that is. */
  async run(args: readonly string[], input?: string | Buffer): Promise<CrictlResult> {
    const running = this.start(args);
    running.child.stdin?.on('error', () => undefined);
    running.child.stdin?.end(input ?? '');
    return await running.ended;
  }

  /** Runs it and gives what it printed, without white space at the ends. @throws AssertionError when it fails */
  async ok(...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(args);
    assert.equal(exitCode, 0, `crictl ${args.join(' ')}: ${stderr}`);
    return stdout.toString().trim();
  }

  /** As `ok`, for what prints JSON. */
  async json<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.ok(...args)) as T;
  }

  /** Runs it and gives what it wrote to stderr. @throws AssertionError when it succeeds */
  async fails(...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(args);
    assert.notEqual(exitCode, 0, `crictl ${args.join(' ')} succeeded: ${stdout.toString()}`);
    return stderr;
  }

  /** Starts it with a pipe as its input. Disposing ends it with SIGKILL if it still runs. */
  start(args: readonly string[]): RunningCrictl {
    return watch(spawn('crictl', [...args], { env: this.environment, stdio: ['pipe', 'pipe', 'pipe'] }));
  }

  /** Starts it below a terminal of its own, 30 lines of 100 columns: what it prints is what a screen would be sent. */
  startInTerminal(args: readonly string[]): RunningCrictl {
    const command = ['crictl', ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    const inside = `stty rows 30 cols 100; exec ${command}`;
    const argv = ['--quiet', '--return', '--flush', '--command', inside, '/dev/null'];
    return watch(spawn('script', argv, { env: this.environment, stdio: ['pipe', 'pipe', 'pipe'] }));
  }

  /** A file with this configuration, in the snake case that crictl reads. */
  file(value: unknown): string {
    this.#files += 1;
    const path = join(this.#directory, `${this.#files}.json`);
    writeFileSync(path, JSON.stringify(snakeCase(value)));
    return path;
  }

  get environment(): NodeJS.ProcessEnv {
    return { ...process.env, CRI_CONFIG_FILE: join(this.#directory, 'crictl.yaml') };
  }
}

/** Maps whose keys are the user's own. */
const userMaps = new Set(['labels', 'annotations', 'sysctls', 'unified']);

function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      userMaps.has(key) ? inner : snakeCase(inner),
    ]),
  );
}

/** Another program that is watched like crictl is. */
export function startProgram(program: string, args: readonly string[]): RunningCrictl {
  return watch(spawn(program, [...args], { stdio: ['pipe', 'pipe', 'pipe'] }));
}

function watch(child: ChildProcess): RunningCrictl {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  const { promise: ended, resolve, reject } = Promise.withResolvers<CrictlResult>();
  const text = (): string => Buffer.concat([...stdout, ...stderr]).toString();
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.once('error', reject);
  child.once('close', (code, signal) =>
    resolve({
      exitCode: code ?? (signal === null ? -1 : 128),
      stdout: Buffer.concat(stdout),
      stderr: Buffer.concat(stderr).toString(),
    }),
  );
  ended.catch(() => undefined);
  return {
    child,
    ended,
    async untilOutput(pattern) {
      const { promise: seen, resolve: see, reject: giveUp } = Promise.withResolvers<string>();
      const look = (): void => void (pattern.test(text()) && see(text()));
      child.stdout?.on('data', look);
      child.stderr?.on('data', look);
      child.once('close', () => giveUp(new Error(`ended without ${String(pattern)} in: ${text()}`)));
      const timer = setTimeout(
        () => giveUp(new Error(`says no ${String(pattern)} but: ${text()}`)),
        untilOutputLimitMs,
      );
      look();
      return await seen.finally(() => {
        clearTimeout(timer);
        child.stdout?.off('data', look);
        child.stderr?.off('data', look);
      });
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended.catch(() => undefined);
    },
  };
}
