/** Back-pressure on a WebSocket's client that still notices when the client has gone. */
import { WebSocket } from 'ws';

const pingIntervalMs = 10_000;
/** Undefined for a socket that is being read again. */
const pings = new WeakMap<WebSocket, NodeJS.Timeout | undefined>();

/**
 * Reads the client no further until `resumeReading`. A socket that nobody reads tells of no end and no reset: a vanished client
 * would keep it, and what it leads to, for hours. Pings meanwhile find that out, by what the kernel answers to them; a client
 * that is there need not answer. Idempotent.
 */
export function pauseReading(socket: WebSocket, intervalMs: number = pingIntervalMs): void {
  socket.pause();
  if (pings.get(socket) !== undefined) return;
  if (!pings.has(socket)) socket.once('close', () => stopPings(socket));
  const timer = setInterval(() => ping(socket), intervalMs);
  timer.unref();
  pings.set(socket, timer);
}

/** Idempotent. */
export function resumeReading(socket: WebSocket): void {
  stopPings(socket);
  socket.resume();
}

function stopPings(socket: WebSocket): void {
  if (!pings.has(socket)) return;
  clearInterval(pings.get(socket));
  pings.set(socket, undefined);
}

function ping(socket: WebSocket): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.ping(undefined, undefined, (error?: Error | null) => {
    // What came before the end lies unread in front of it, and would keep the socket from closing.
    if (error instanceof Error) socket.terminate();
  });
}
