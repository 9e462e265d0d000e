/**
 * SPDY through WebSocket, as kubectl since 1.31 and crictl forward ports. The name of the subprotocol has a slash in it,
 * which is no token of RFC 6455: `ws` refuses the header, so it is answered here and hidden from it.
 */
import type { IncomingMessage } from 'node:http';
import type { WebSocketServer } from 'ws';
import { portForwardProtocol } from '../port-forward.ts';

const tunnelProtocol = `SPDY/3.1+${portForwardProtocol}`;

const header = 'sec-websocket-protocol';

export class TunnelOffers {
  readonly #accepted = new WeakSet<IncomingMessage>();

  constructor(webSockets: WebSocketServer) {
    webSockets.on('headers', (headers: string[], request: IncomingMessage) => {
      if (this.#accepted.has(request)) headers.push(`Sec-WebSocket-Protocol: ${tunnelProtocol}`);
    });
  }

  /** True if the client offers a tunnel, which is then what the handshake agrees on. To be asked before the handshake. */
  accept(request: IncomingMessage): boolean {
    const offered = (request.headers[header] ?? '').split(',').map((protocol) => protocol.trim());
    if (!offered.includes(tunnelProtocol)) return false;
    delete request.headers[header];
    this.#accepted.add(request);
    return true;
  }
}
