/**
 * Layers decompressed by a program of this machine, where one is installed that takes less time for it than Node does. It reads what is
 * downloaded from one pipe and writes the tar into another, which the worker's thread reads.
 */
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { ChildProcessHandle, ProcessExit } from '../../linux/child.ts';
import { ChildPipes } from '../../linux/child-pipes.ts';
import { spawnProcess } from '../../linux/command.ts';
import { widenPipe } from '../../linux/pipe.ts';
import type { Poller } from '../../linux/poll.ts';
import { installedProgram, programPath } from '../../linux/program.ts';
import { compressionOf, drained, MagicCheck, type Compression } from './decompress.ts';
import type { TarFeed } from './layer-feed.ts';

/** Programs that are known here. */
export type DecompressorName = 'igzip' | 'zstd';

const commands: Readonly<Record<Compression, readonly [DecompressorName, ...string[]] | undefined>> = {
  gzip: ['igzip', '--decompress', '--stdout'],
  zstd: ['zstd', '--decompress', '--stdout', '--quiet'],
  none: undefined,
};

const pipeBytes = 1024 ** 2;
const complaintChars = 300;
const complaintMs = 500;
/** A program takes and gives some megabytes in that time, and a disk too. */
const defaultStallLimitMs = 300_000;

/** A program that decompresses, with its options, and what it takes. */
export interface Decompressor {
  readonly argv: readonly string[];
  readonly compression: Compression;
}

/**
 * The program that decompresses layers of a media type from its standard input; undefined where none that is `allowed` does, or it is not
 * installed. Looked for each time: it may be installed while the daemon runs.
 */
export function decompressorFor(
  mediaType: string,
  allowed: readonly DecompressorName[],
): Decompressor | undefined {
  try {
    const compression = compressionOf(mediaType);
    const argv = commands[compression];
    if (argv === undefined || !allowed.includes(argv[0])) return undefined;
    return installedProgram(argv[0]) === undefined ? undefined : { argv, compression };
  } catch {
    // A compression that is not known either: who unpacks it says so.
    return undefined;
  }
}

/** One layer's way through a program, from its first byte to the end of the program. */
export class Decompression implements TarFeed {
  readonly #child: ChildProcessHandle;
  readonly #about: string;
  readonly #input: Socket;
  readonly #closed: Promise<unknown>;
  readonly #errors: Socket;
  readonly #magic: MagicCheck;
  readonly #stallLimitMs: number;
  #complaint = '';
  readonly tarFd: number;

  private constructor(
    terms: { readonly about: string; readonly magic: MagicCheck; readonly stallLimitMs: number },
    child: ChildProcessHandle,
    ends: { readonly stdin: number; readonly stdout: number; readonly stderr: number },
  ) {
    this.#about = terms.about;
    this.#magic = terms.magic;
    this.#stallLimitMs = terms.stallLimitMs;
    this.#child = child;
    this.tarFd = ends.stdout;
    this.#input = new Socket({ fd: ends.stdin, readable: false, writable: true });
    // Who ends without reading all is asked for its exit code.
    this.#input.on('error', () => undefined);
    this.#closed = once(this.#input, 'close').catch(() => undefined);
    this.#errors = new Socket({ fd: ends.stderr, readable: true, writable: false });
    this.#errors
      .on('error', () => undefined)
      .on('data', (text: Buffer) => {
        this.#complaint = (this.#complaint + text.toString('latin1')).slice(0, complaintChars);
      });
  }

  /** `about` begins the messages of errors. @throws SyscallError, EngineError when the program cannot be started */
  static start(
    poller: Poller,
    {
      argv,
      compression,
      about,
      stallLimitMs = defaultStallLimitMs,
    }: Decompressor & { readonly about: string; readonly stallLimitMs?: number },
  ): Decompression {
    using pipes = new ChildPipes();
    const ends = { stdin: pipes.input(0), stdout: pipes.output(1), stderr: pipes.output(2) };
    widenPipe(ends.stdin, pipeBytes);
    widenPipe(ends.stdout, pipeBytes);
    const env = { PATH: programPath, LC_ALL: 'C' };
    const child = spawnProcess(argv, { fds: pipes.fds, env, newSession: true, poller });
    pipes.handOver();
    const magic = new MagicCheck(compression, about);
    return new Decompression({ about: `${about}${argv[0]}: `, magic, stallLimitMs }, child, ends);
  }

  /**
   * A program that wants no more has seen the end of the compressed data: the rest goes nowhere, as gzip(1) has it. One that hangs is killed
   * in the end: it would hold an unpacking thread for ever.
   * @throws EngineError data-loss if the program has given up or the bytes are of another kind than said, internal if it could not do its work
   */
  async take(chunk: Uint8Array): Promise<void> {
    const checked = this.#magic.push(chunk);
    if (checked === undefined) return;
    if (this.#input.destroyed) {
      await this.#untilEnded();
      return;
    }
    if (!this.#input.write(checked)) await this.#whileItMoves(drained(this.#input, this.#closed));
  }

  /** Nothing more comes. Resolves when the program has written all. @throws EngineError as `take` */
  async end(): Promise<void> {
    this.#magic.end();
    this.#input.end();
    await this.#untilEnded();
  }

  /** What was begun is not wanted any more: the reader comes to the pipe's end. */
  abandon(): void {
    this.#child.kill('SIGKILL');
    this.#input.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abandon();
    await this.#child.exited.catch(() => undefined);
    this.#errors.destroy();
    closeSync(this.tarFd);
  }

  async #untilEnded(): Promise<void> {
    const exit = await this.#whileItMoves(this.#child.exited);
    if (exit.exitCode === 0) return;
    // What it wrote before its end may still be in the pipe, which something that it started may hold open.
    if (!this.#errors.closed)
      await Promise.race([once(this.#errors, 'close').catch(() => undefined), sleep(complaintMs)]);
    throw this.#failure(exit);
  }

  async #whileItMoves<T>(work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), this.#stallLimitMs);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  #failure({ exitCode, signal }: ProcessExit): EngineError {
    if (exitCode === undefined) return new EngineError('internal', `${this.#about}ended by signal ${signal}`);
    const what = `${quote(this.#complaint.trim())} (exit code ${exitCode})`;
    // Both say 1 of what they read. Other codes are of what they lack: memory, threads, their libraries.
    if (exitCode !== 1) return new EngineError('internal', this.#about + what);
    return new EngineError('data-loss', `${this.#about}damaged compression: ${what}`);
  }
}
