/** Reading a container's log file: its end, and what is added, over rotations. */
import { watch } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../lib/errors.ts';
import { LineCutter, parseLogLine, type LogLine } from './log-lines.ts';

const chunkBytes = 64 * 1024;
const newline = 0x0a;
/** Where the kernel's notices do not come (network file systems), and to see that the container has ended. */
const idleMs = 500;

export interface LogRequest {
  readonly path: string;
  /** Begin with the last lines only. */
  readonly tail?: number | undefined;
  /** Go on when the end is reached, until `hasEnded` says that nothing more can come. */
  readonly follow?: { readonly hasEnded: () => Promise<boolean> } | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The lines of a log. A file that is not there has none; when following, it is waited for. */
export async function* readLog(request: LogRequest): AsyncGenerator<LogLine> {
  await using current = new CurrentFile(request.path);
  const cutter = new LineCutter();
  using changes = request.follow === undefined ? undefined : new Changes(request.path);
  let isFirst = true;
  for (;;) {
    // Asked before reading: what was written until then is read below.
    const hasEnded = request.follow === undefined || (await request.follow.hasEnded());
    for (;;) {
      if (current.file === undefined && !(await current.openNext())) break;
      if (isFirst && request.tail !== undefined) await current.skipToTail(request.tail);
      isFirst = false;
      yield* linesOf(current, cutter);
      // A rotation: the old file has been read to its end, and a new one has its name.
      if (!(await current.wasReplaced())) break;
      yield* linesOf(current, cutter);
      await current.close();
      cutter.reset();
    }
    if (hasEnded || request.signal?.aborted) return;
    await changes?.next(request.signal);
  }
}

async function* linesOf(current: CurrentFile, cutter: LineCutter): AsyncGenerator<LogLine> {
  for await (const piece of current.read())
    for (const bytes of cutter.push(piece)) {
      const line = parseLogLine(bytes);
      if (line !== undefined) yield line;
    }
}

class CurrentFile implements AsyncDisposable {
  readonly #path: string;
  #position = 0;
  file: FileHandle | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async openNext(): Promise<boolean> {
    try {
      this.file = await open(this.#path);
      this.#position = 0;
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw error;
    }
  }

  async *read(): AsyncGenerator<Buffer> {
    const buffer = Buffer.alloc(chunkBytes);
    for (;;) {
      const count = (await this.file?.read(buffer, 0, chunkBytes, this.#position))?.bytesRead ?? 0;
      if (count === 0) return;
      this.#position += count;
      yield buffer.subarray(0, count);
    }
  }

  async skipToTail(lines: number): Promise<void> {
    if (this.file !== undefined) this.#position = await findTail(this.file, lines);
  }

  /** True when the path names another file than the one that is open. Between the two steps of a rotation it names none. */
  async wasReplaced(): Promise<boolean> {
    const [opened, named] = await Promise.all([this.file?.stat(), stat(this.#path).catch(() => undefined)]);
    if (opened === undefined || named === undefined) return false;
    return opened.ino !== named.ino || opened.dev !== named.dev;
  }

  async close(): Promise<void> {
    await this.file?.close();
    this.file = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Where the last `lines` lines begin, counted as the container wrote them: parts of a long line count once. */
async function findTail(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat();
  if (lines === 0) return size;
  const buffer = Buffer.alloc(chunkBytes);
  // The line that is being gathered from its end, and where it ends.
  let gathered: Buffer[] = [];
  let found = 0;
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - chunkBytes);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    if (bytesRead < end - start) return start;
    let lineEnd = bytesRead;
    for (let at = buffer.lastIndexOf(newline, bytesRead - 1); at !== -1 && at < lineEnd;) {
      const line = Buffer.concat([buffer.subarray(at + 1, lineEnd), ...gathered]);
      gathered = [];
      // Each complete line but the wanted ones ends what comes before the tail.
      if (parseLogLine(line)?.isComplete === true) found += 1;
      if (found > lines) return start + at + 1 + line.length + 1;
      lineEnd = at;
      at = at === 0 ? -1 : buffer.lastIndexOf(newline, at - 1);
    }
    gathered = [Buffer.from(buffer.subarray(0, lineEnd)), ...gathered];
    end = start;
  }
  return 0;
}

/** Tells that something happened in the log's directory since the last time. */
class Changes implements Disposable {
  readonly #watcher: ReturnType<typeof watch> | undefined;
  #hasChanged = false;
  #wake: () => void = () => undefined;

  constructor(path: string) {
    try {
      this.#watcher = watch(dirname(path), () => {
        this.#hasChanged = true;
        this.#wake();
      });
      this.#watcher.on('error', () => undefined);
    } catch {
      // No directory yet, or no inotify instance left: looking at intervals does as well, only later.
    }
  }

  async next(signal?: AbortSignal): Promise<void> {
    if (!this.#hasChanged) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, idleMs);
      const onAbort = (): void => resolve();
      signal?.addEventListener('abort', onAbort, { once: true });
      await promise;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
    this.#hasChanged = false;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }
}
