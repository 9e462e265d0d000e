import { bind } from './libc.ts';
import { setPropagation } from './mount.ts';

const CLONE_NEWNS = 0x2_0000;
const unshare = bind<[flags: number]>('int unshare(int flags)');

/**
 * Gives the calling thread, and all threads that it starts from now on, a mount namespace of its own, which ends
 * with them. For tests: the daemon itself lives in the host's.
 */
export function enterPrivateMounts(): void {
  unshare(CLONE_NEWNS);
  setPropagation('/', 'rprivate');
}
