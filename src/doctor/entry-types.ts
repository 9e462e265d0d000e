/** Whether directories of a file system tell the type of their entries, which overlayfs needs (d_type). */
import { closeSync, openSync } from 'node:fs';
import { readDirectory } from '../linux/at.ts';
import { bind } from '../linux/libc.ts';

const SYS_getdents64 = process.arch === 'arm64' ? 61 : 217;
const DT_UNKNOWN = 0;
const typeOffset = 18;

const getdents64 = bind<[n: number, fd: number, entries: Buffer, size: number]>(
  'int64 syscall(int64 n, int64 fd, uint8_t *entries, int64 size)',
  { name: 'getdents64' },
);

/** Every directory has `.` and `..`: the first entry read tells. Node's own readdir hides it by asking lstat. @throws SyscallError */
export function hasEntryTypes(directory: string): boolean {
  const fd = openSync(directory, readDirectory);
  try {
    const entries = Buffer.alloc(4096);
    return (
      getdents64(SYS_getdents64, fd, entries, entries.length) > typeOffset &&
      entries[typeOffset] !== DT_UNKNOWN
    );
  } finally {
    closeSync(fd);
  }
}
