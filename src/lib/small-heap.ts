/**
 * Keeps V8 from making its heap larger than what lives in it. At start-up its space for new objects grows to 20 MB, in each thread,
 * and stays so; a daemon that answers some requests a second has no use for that. Of CPU time it costs a twentieth at most, but where
 * hundreds of megabytes pass through buffers: there the whole heap is marked for every eight of them.
 *
 * Node warns of flags that are set while the VM runs. These are read by the garbage collector whenever it runs, and by the heaps of
 * threads when they are made. They are the process's, of all its threads.
 */
import { setFlagsFromString } from 'node:v8';

/** How much may come before the next collection, in percent of what lives. V8 lets eight megabytes come in any case. */
const usualGrowthPercent = 25;
/** The same where much garbage comes: some 70 MB beside what lives in the daemon. */
const roomyGrowthPercent = 400;

let growers = 0;

/**
 * For the start of the process, before all else. `--optimize-for-size` would save up to ten megabytes more, but V8 then drops hidden classes with
 * the code that was compiled for them in each collection of an idle daemon: what a kubelet asks took a third longer.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setGrowth(usualGrowthPercent);
}

/** Lets garbage lie until it is disposed of: for work that makes much of it. The heap shrinks again some time after. */
export function letHeapGrow(): Disposable {
  growers += 1;
  if (growers === 1) setGrowth(roomyGrowthPercent);
  let isHeld = true;
  return {
    [Symbol.dispose]: () => {
      if (!isHeld) return;
      isHeld = false;
      growers -= 1;
      if (growers === 0) setGrowth(usualGrowthPercent);
    },
  };
}

function setGrowth(percent: number): void {
  setFlagsFromString(`--heap-growing-percent=${percent}`);
}
