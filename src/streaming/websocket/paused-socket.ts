/** Back-pressure on a WebSocket's client that still notices when the client has gone. */
import { WebSocket } from 'ws';

const pingIntervalMs = 10_000;
const pings = new WeakMap<WebSocket, NodeJS.Timeout>();

/**
 * Reads the client no further until `resumeReading`. A socket that nobody reads tells of no end and no reset: a vanished client
 * would keep it, and what it leads to, for hours. Pings meanwhile find that out, by what the kernel answers to them; a client
 * that is there need not answer. Idempotent.
 */
export function pauseReading(socket: WebSocket, intervalMs: number = pingIntervalMs): void {
  socket.pause();
  if (pings.has(socket)) return;
  const timer = setInterval(() => ping(socket), intervalMs);
  timer.unref();
  pings.set(socket, timer);
  socket.once('close', () => stopPings(socket));
}

/** Idempotent. */
export function resumeReading(socket: WebSocket): void {
  stopPings(socket);
  socket.resume();
}

function stopPings(socket: WebSocket): void {
  clearInterval(pings.get(socket));
  pings.delete(socket);
}

function ping(socket: WebSocket): void {
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.ping(undefined, undefined, (error?: Error | null) => {
    // What came before the end lies unread in front of it, and would keep the socket from closing.
    if (error instanceof Error) socket.terminate();
  });
}
