/** The HTTP upgrade to SPDY/3.1, with the negotiation of what is spoken on its streams. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

const protocolHeader = 'x-stream-protocol-version';

export function isSpdyUpgrade(request: IncomingMessage): boolean {
  return /^spdy\/3\.1$/i.test(request.headers.upgrade ?? '');
}

/** The first of `supported`, best first, that the client offers too. A client that offers nothing speaks the oldest. */
export function negotiate(request: IncomingMessage, supported: readonly string[]): string | undefined {
  const offered = [request.headers[protocolHeader] ?? []]
    .flat()
    .flatMap((value) => value.split(','))
    .map((value) => value.trim());
  if (offered.length === 0) return supported.at(-1);
  return supported.find((protocol) => offered.includes(protocol));
}

/** Answers 101 and leaves the connection to SPDY. What the client has sent early stays readable on the socket. */
export function acceptUpgrade(socket: Duplex, head: Buffer, protocol: string): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
}
