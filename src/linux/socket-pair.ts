import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from './unix-socket.ts';
import { bind } from './libc.ts';

const socketpair = bind<[domain: number, type: number, protocol: number, pair: Uint8Array]>(
  'int socketpair(int domain, int type, int protocol, void *pair)',
);

/** Two connected unix stream sockets that no program started later inherits. The caller closes both. Throws SyscallError. */
export function socketPair(): readonly [one: number, other: number] {
  const pair = Buffer.alloc(8);
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}
