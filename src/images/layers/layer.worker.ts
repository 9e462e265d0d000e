/**
 * A thread of the layer side: one job at a time. It does what would block for long on the main thread: parsing and
 * writing thousands of files, removing and measuring trees.
 */
import { closeSync, createReadStream, openSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { EngineError } from '../../lib/errors.ts';
import { untilAborted } from '../../lib/keyed-lock.ts';
import { pathDirectory } from '../../linux/at.ts';
import { decompress } from './decompress.ts';
import type { FromWorker, JobResults, LayerJob, ToWorker, UnpackJob } from './layer-jobs.ts';
import { removeTree } from './remove-tree.ts';
import { settleLayers } from './settle-layers.ts';
import { readPipe } from './tar-pipe.ts';
import { treeUsage } from './tree-usage.ts';
import { unpackLayer } from './unpack-layer.ts';

const readChunkBytes = 1024 ** 2;

/** The bytes that are sent, in order; each is acknowledged when it is taken. */
class Inbox {
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #wake: (() => void) | undefined;

  /** `undefined` is the end. */
  push(chunk: Uint8Array | undefined): void {
    this.#chunks.push(chunk);
    this.#wake?.();
  }

  async *read(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#chunks.length === 0) await this.#untilPushed(signal);
      else {
        const chunk = this.#chunks.shift();
        if (chunk === undefined) return;
        yield chunk;
        send({ name: 'consumed', bytes: chunk.length });
      }
    }
  }

  async #untilPushed(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await untilAborted(promise, signal);
    this.#wake = undefined;
  }
}

let inbox = new Inbox();
let controller = new AbortController();

function send(message: FromWorker): void {
  parentPort?.postMessage(message);
}

async function run(job: LayerJob, tarFd: number | undefined): Promise<void> {
  inbox = new Inbox();
  controller = new AbortController();
  try {
    send({ name: 'done', result: await perform(job, tarFd) });
  } catch (error) {
    const { kind, message } = EngineError.from(error);
    send({ name: 'failed', kind, message });
  }
}

async function perform(job: LayerJob, tarFd: number | undefined): Promise<JobResults[LayerJob['name']]> {
  switch (job.name) {
    case 'unpack':
      return await unpackLayer(job, tarOf(job, tarFd, controller.signal), controller.signal);
    case 'remove':
      return removeEntries(job.directory, job.entries);
    case 'usage':
      return treeUsage(job.path);
    case 'settle':
      settleLayers(job.layerDirectories);
      return undefined;
  }
}

function tarOf(job: UnpackJob, tarFd: number | undefined, signal: AbortSignal): AsyncIterable<Buffer> {
  if (tarFd !== undefined) return wholeTar(tarFd, signal);
  if (job.path === undefined) return decompress(inbox.read(signal), job.mediaType);
  const file = createReadStream(job.path, { highWaterMark: readChunkBytes, signal });
  return decompress(file, job.mediaType);
}

/** The end of the pipe may be that of a program that failed: only the other side knows. */
async function* wholeTar(fd: number, signal: AbortSignal): AsyncGenerator<Buffer> {
  yield* readPipe(fd, signal);
  for await (const _ of inbox.read(signal));
}

function removeEntries(directory: string, entries: readonly string[]): undefined {
  const fd = openSync(directory, pathDirectory);
  try {
    for (const entry of entries) removeTree(fd, entry);
  } finally {
    closeSync(fd);
  }
}

parentPort?.on('message', (message: ToWorker) => {
  switch (message.name) {
    case 'job':
      void run(message.job, message.tarFd);
      return;
    case 'chunk':
      inbox.push(message.bytes);
      return;
    case 'end':
      inbox.push(undefined);
      return;
    case 'abort':
      controller.abort();
  }
});
