/** Imported before all else, so that nothing is made before it: see `lib/small-heap.ts`. */
import { keepHeapSmall } from './lib/small-heap.ts';

keepHeapSmall();
