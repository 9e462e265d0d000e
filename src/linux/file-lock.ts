/** Advisory locks on whole files, shared with other programs that take them by flock(2). */
import { errnoOf } from '../lib/errors.ts';
import { bind } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flock = bind<[fd: number, operation: number]>('int flock(int fd, int operation)');

/**
 * Takes the exclusive lock of an open file without waiting; false when somebody else holds it. Two descriptors of one
 * process exclude each other too. Closing the descriptor releases it.
 */
export function tryLockFile(fd: number): boolean {
  try {
    flock(fd, LOCK_EX | LOCK_NB);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return false;
    throw error;
  }
}
