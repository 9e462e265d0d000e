import type { Worker } from 'node:worker_threads';
import { bindUnchecked } from './libc.ts';

const hung = new Set<Worker>();
const exitNow = bindUnchecked<[code: number]>('void _exit(int code)');

/** For a thread that hangs in the kernel: Node joins its threads when the process exits, and would wait for it for ever. */
export function leaveBehindAtExit(worker: Worker): void {
  if (hung.size === 0) process.on('exit', exitNow);
  hung.add(worker);
}

/** For one that has come back. */
export function waitForAtExit(worker: Worker): void {
  hung.delete(worker);
  if (hung.size === 0) process.off('exit', exitNow);
}
