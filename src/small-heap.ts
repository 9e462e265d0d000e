/**
 * Imported before all else: keeps V8 from making its heap larger than what lives in it. At start-up its space for new objects grows to 20 MB, in
 * each thread, and stays so; a daemon that answers some requests a second has no use for that. Of CPU time it costs
 * a twentieth at most.
 *
 * Node warns of flags that are set while the VM runs. These two are read by the garbage collector whenever it runs, and by the heaps of
 * threads when they are made.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--semi-space-growth-factor=1');
setFlagsFromString('--optimize-for-size');
