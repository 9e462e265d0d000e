/** The arenas of the C library's allocator: what threads take their memory from. */
import { bindUnchecked } from './libc.ts';

const mallopt = bindUnchecked<[parameter: number, value: number]>('int mallopt(int param, int value)');
const mallocTrim = bindUnchecked<[keptBytes: number]>('int malloc_trim(size_t pad)');

/** malloc.h */
const M_ARENA_MAX = -8;

/**
 * Gives all threads that begin later the arena of those before them. By itself each thread gets one of its own, up to eight for each CPU, which
 * stays as large as it once was.
 */
export function shareArenas(): void {
  mallopt(M_ARENA_MAX, 1);
}

/**
 * Gives back what was freed (malloc_trim(3)): by itself the allocator keeps all pages below the last block in use. The more pieces are free, the longer
 * it takes, and allocations of all threads wait: a millisecond in a quiet daemon, five for 62 MB in blocks of 64 KiB.
 */
export function releaseFreeMemory(): void {
  mallocTrim(0);
}
