/**
 * Layers decompressed by a program of this machine, where one is installed that takes less time for it than Node does. It reads what is
 * downloaded from one pipe and writes the tar into another, which the worker's thread reads.
 */
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { EngineError } from '../../lib/errors.ts';
import type { ChildProcessHandle, ProcessExit } from '../../linux/child.ts';
import { ChildPipes } from '../../linux/child-pipes.ts';
import { spawnProcess } from '../../linux/command.ts';
import { widenPipe } from '../../linux/pipe.ts';
import type { Poller } from '../../linux/poll.ts';
import { findProgram, programPath } from '../../linux/program.ts';
import { compressionOf, type Compression } from './decompress.ts';
import type { LayerFeed } from './layer-feed.ts';

/** Programs that are known here. */
export type DecompressorName = 'igzip' | 'zstd';

const commands: Readonly<Record<Compression, readonly [DecompressorName, ...string[]] | undefined>> = {
  gzip: ['igzip', '--decompress', '--stdout'],
  zstd: ['zstd', '--decompress', '--stdout', '--quiet'],
  none: undefined,
};

const pipeBytes = 1024 ** 2;
const complaintChars = 300;

/**
 * The command that decompresses layers of a media type from its standard input; undefined where none that is `allowed` does, or it is not
 * installed. Looked for each time: it may be installed while the daemon runs.
 */
export function decompressorFor(
  mediaType: string,
  allowed: readonly DecompressorName[],
): readonly string[] | undefined {
  try {
    const command = commands[compressionOf(mediaType)];
    if (command === undefined || !allowed.includes(command[0])) return undefined;
    findProgram(command[0]);
    return command;
  } catch {
    // A compression that is not known either: who unpacks it says so.
    return undefined;
  }
}

/** One layer's way through a program, from its first byte to the end of the program. */
export class Decompression implements LayerFeed, AsyncDisposable {
  readonly #child: ChildProcessHandle;
  readonly #about: string;
  readonly #input: Socket;
  readonly #closed: Promise<unknown>;
  readonly #errors: Socket;
  #complaint = '';
  /** Where the tar comes out. Nobody may read it after the disposal. */
  readonly tarFd: number;

  private constructor(
    about: string,
    child: ChildProcessHandle,
    ends: { readonly stdin: number; readonly stdout: number; readonly stderr: number },
  ) {
    this.#about = about;
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

  /** `about` begins the messages of errors. @throws EngineError, SyscallError when the program cannot be started */
  static start(poller: Poller, { argv, about }: { argv: readonly string[]; about: string }): Decompression {
    using pipes = new ChildPipes();
    const ends = { stdin: pipes.input(0), stdout: pipes.output(1), stderr: pipes.output(2) };
    widenPipe(ends.stdin, pipeBytes);
    widenPipe(ends.stdout, pipeBytes);
    const env = { PATH: programPath, LC_ALL: 'C' };
    const child = spawnProcess(argv, { fds: pipes.fds, env, newSession: true, poller });
    pipes.handOver();
    return new Decompression(`${about}${argv[0]}: `, child, ends);
  }

  /**
   * A program that wants no more has seen the end of the compressed data: the rest goes nowhere, as gzip(1) has it.
   * @throws EngineError data-loss if it has given up
   */
  async take(chunk: Uint8Array): Promise<void> {
    if (this.#input.destroyed) {
      await this.#untilEnded();
      return;
    }
    if (this.#input.write(chunk)) return;
    await Promise.race([once(this.#input, 'drain').catch(() => undefined), this.#closed]);
  }

  /** Nothing more comes. Resolves when the program has written all. @throws EngineError data-loss if it could not */
  async end(): Promise<void> {
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
    const exit = await this.#child.exited;
    if (exit.exitCode === 0) return;
    // What it wrote before its end may still be in the pipe.
    if (!this.#errors.closed) await once(this.#errors, 'close').catch(() => undefined);
    throw this.#failure(exit);
  }

  #failure({ exitCode, signal }: ProcessExit): EngineError {
    if (exitCode === undefined) return new EngineError('internal', `${this.#about}ended by signal ${signal}`);
    const complaint = this.#complaint.trim();
    return new EngineError(
      'data-loss',
      `${this.#about}damaged compression: ${complaint} (exit code ${exitCode})`,
    );
  }
}
