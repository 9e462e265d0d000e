/**
 * Keeps V8 from making its heap larger than what lives in it. At start-up its space for new objects grows to 20 MB, in each thread,
 * and stays so; a daemon that answers some requests a second has no use for that. Of CPU time it costs a twentieth at most, but where
 * hundreds of megabytes pass through buffers: there the whole heap is marked for every eight of them.
 *
 * Node warns of flags that are set while the VM runs. These are read by the garbage collector whenever it runs, and by the heaps of
 * threads when they are made.
 */
import { setFlagsFromString } from 'node:v8';

// The flags are the process's, of all its threads: so is their count.
let isKeptSmall = false;
let growers = 0;

/** For the start of the process, before all else. */
export function keepHeapSmall(): void {
  isKeptSmall = true;
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--optimize-for-size');
}

/** Lets garbage lie until it is disposed of: for work that makes much of it. The heap shrinks again some time after. */
export function letHeapGrow(): Disposable {
  if (isKeptSmall && growers === 0) setFlagsFromString('--no-optimize-for-size');
  growers += 1;
  let isHeld = true;
  return {
    [Symbol.dispose]: () => {
      if (!isHeld) return;
      isHeld = false;
      growers -= 1;
      if (isKeptSmall && growers === 0) setFlagsFromString('--optimize-for-size');
    },
  };
}
