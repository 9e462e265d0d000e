/** Unix sockets of the kinds and uses that Node lacks. */
import { closeSync, constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { SyscallError, errnoNumber } from './errors.ts';
import { bind, O_CLOEXEC, O_PATH } from './libc.ts';

export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = O_CLOEXEC;

export const socket = bind<[family: number, type: number, protocol: number]>(
  'int socket(int domain, int type, int protocol)',
);

// `struct sockaddr_un`: the family, then a path with its final zero.
const pathOffset = 2;
const maxPathBytes = 107;

/**
 * Calls `use` with the address of a socket file. A path that is too long for an address is reached by way of its directory's descriptor, which is
 * open only for the call. Throws SyscallError ENAMETOOLONG when the last part alone is too long.
 */
export function withSocketAddress<T>(path: string, use: (address: Buffer) => T): T {
  if (Buffer.byteLength(path) <= maxPathBytes) return use(addressOf(path, path));
  const directory = openSync(dirname(path), O_PATH | constants.O_DIRECTORY);
  try {
    return use(addressOf(`/proc/self/fd/${directory}/${basename(path)}`, path));
  } finally {
    closeSync(directory);
  }
}

function addressOf(path: string, fullPath: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length > maxPathBytes) {
    throw new SyscallError('socket address', errnoNumber('ENAMETOOLONG'), { path: fullPath });
  }
  const address = Buffer.alloc(pathOffset + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, pathOffset);
  return address;
}
