/** Says to the service manager that started us how we are (sd_notify(3)): datagrams to the socket that it names. */
import { bind, close } from './libc.ts';
import { AF_UNIX, SOCK_CLOEXEC, socket, withSocketAddress } from './unix-socket.ts';

const sendto = bind<
  [fd: number, data: Uint8Array, size: number, flags: number, address: Uint8Array, addressSize: number]
>('ssize_t sendto(int fd, const void *buf, size_t len, int flags, const void *addr, socklen_t addrlen)');

const SOCK_DGRAM = 2;
const MSG_NOSIGNAL = 0x4000;

/**
 * Sends `state` (`READY=1`, `STOPPING=1`, `STATUS=...`; several by newlines) to $NOTIFY_SOCKET. Does nothing where no
 * service manager waits for it. Throws SyscallError when the socket is named but cannot be reached.
 */
export function notifyService(state: string, environment: NodeJS.ProcessEnv = process.env): void {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined || !/^[/@]/.test(path)) return;
  const message = Buffer.from(state);
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    const send = (address: Buffer, size: number): void =>
      void sendto(fd, message, message.length, MSG_NOSIGNAL, address, size);
    if (path.startsWith('/')) withSocketAddress(path, (address) => send(address, address.length));
    else withSocketAddress(path, (address) => send(abstractAddress(address), address.length - 1));
  } finally {
    close(fd);
  }
}

// An abstract name begins with a zero byte, written as @, and has no zero at its end.
function abstractAddress(address: Buffer): Buffer {
  address[address.indexOf('@')] = 0;
  return address;
}
