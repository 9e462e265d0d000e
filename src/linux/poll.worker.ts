/**
 * The poller's thread: waits in epoll_wait for as long as it lives and reports what became ready. It never returns to its event loop,
 * so it hears nothing but the stop token; everything else about the set is changed from the main thread, which the kernel allows.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { errnoOf } from '../lib/errors.ts';
import { bind } from './libc.ts';
import { decodeEvents, eventBytes, type PollWorkerData, stopToken } from './poll-events.ts';

const epollWait = bind<[epollFd: number, events: Uint8Array, maxEvents: number, timeoutMs: number]>(
  'int epoll_wait(int epfd, void *events, int maxevents, int timeout)',
);

const maxEvents = 128;

function run(epollFd: number): void {
  const events = Buffer.alloc(maxEvents * eventBytes);
  for (;;) {
    const ready = decodeEvents(events, wait(epollFd, events));
    if (ready.some((value, index) => index % 2 === 0 && value === stopToken)) return;
    if (ready.length > 0) parentPort?.postMessage(ready);
  }
}

function wait(epollFd: number, events: Buffer): number {
  try {
    return epollWait(epollFd, events, maxEvents, -1);
  } catch (error) {
    if (errnoOf(error) === 'EINTR') return 0;
    throw error;
  }
}

run((workerData as PollWorkerData).epollFd);
