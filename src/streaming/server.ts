/**
 * The server behind the URLs of Exec, Attach and PortForward. It listens on loopback; the kubelet connects to it for
 * its own client. A URL works once, and only for what was asked when it was made.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, WebSocketServer, type WebSocket } from 'ws';
import type { ProcessSession } from '../containers/process-session.ts';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { RemoteChannels, StreamOptions } from './channels.ts';
import { portForwardProtocol, servePortForward, type ConnectPort } from './port-forward.ts';
import { serveRemoteCommand } from './remote-command.ts';
import { openSpdyChannels, spdyRemoteProtocols } from './spdy/remote-channels.ts';
import { SpdySession } from './spdy/session.ts';
import { acceptUpgrade, isSpdyUpgrade, negotiate } from './spdy/upgrade.ts';
import { Strangers } from './strangers.ts';
import { Tokens } from './tokens.ts';
import { openWebSocketChannels, webSocketRemoteProtocols } from './websocket/remote-channels.ts';
import { portsOf, servePortChannels, webSocketPortProtocols } from './websocket/port-channels.ts';
import { TunnelOffers } from './websocket/tunnel.ts';

/** What a URL stands for. */
type StreamRequest =
  | {
      readonly kind: 'exec' | 'attach';
      readonly options: StreamOptions;
      readonly start: () => Promise<ProcessSession>;
    }
  | {
      readonly kind: 'port-forward';
      /** For a client that cannot name ports itself. */
      readonly ports: readonly number[];
      readonly connect: ConnectPort;
    };

export interface StreamingOptions {
  readonly address: string;
  readonly port: number;
  readonly tokenTtlMs: number;
  readonly idleTimeoutMs: number;
}

export interface StreamingServer extends AsyncDisposable {
  /** A URL at which the request is served once. */
  urlFor(request: StreamRequest): string;
}

export async function serveStreams(options: StreamingOptions, log: Log): Promise<StreamingServer> {
  const tokens = new Tokens<StreamRequest>(options.tokenTtlMs);
  const webSockets = {
    command: webSocketServer(webSocketRemoteProtocols),
    ports: webSocketServer(webSocketPortProtocols),
  };
  const tunnels = new TunnelOffers(webSockets.ports);
  const server = createServer((_request, response) =>
    response.writeHead(400).end('this address serves upgrades to SPDY/3.1 and WebSocket only\n'),
  );
  const connections = new Set<Socket>();
  const strangers = new Strangers();
  server.on('connection', (socket) => {
    connections.add(socket);
    strangers.add(socket);
    socket.setTimeout(options.idleTimeoutMs, () => socket.destroy());
    socket.on('close', () => connections.delete(socket));
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    serveUpgrade({ tokens, strangers, webSockets, tunnels, request, socket, head }).catch(
      (error: unknown) => {
        log.warn({ error: messageOf(error) }, 'a stream ended with an error');
        socket.destroy();
      },
    );
  });
  await listen(server, options);
  // A connection that could not be accepted, for want of descriptors, is the client's to try again.
  server.on('error', (error) => log.warn({ error: messageOf(error) }, 'a stream was not accepted'));
  const { port } = server.address() as AddressInfo;
  const host = options.address.includes(':') ? `[${options.address}]` : options.address;
  return {
    urlFor: (request) => `http://${host}:${port}/${request.kind}/${tokens.issue(request)}`,
    async [Symbol.asyncDispose]() {
      tokens[Symbol.dispose]();
      server.close();
      for (const socket of connections) socket.destroy();
    },
  };
}

async function listen(server: Server, { address, port }: StreamingOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, address, () => resolve());
  await promise;
}

interface Upgrade {
  readonly tokens: Tokens<StreamRequest>;
  readonly strangers: Strangers;
  readonly webSockets: { readonly command: WebSocketServer; readonly ports: WebSocketServer };
  readonly tunnels: TunnelOffers;
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

async function serveUpgrade(upgrade: Upgrade): Promise<void> {
  const { request, socket, tokens } = upgrade;
  const [kind, token = ''] = new URL(request.url ?? '/', 'http://localhost').pathname.split('/').slice(1);
  const asked = tokens.redeem(token);
  if (asked === undefined || asked.kind !== kind) {
    refuse(socket, '404 Not Found', 'this URL has been used, has expired, or never was');
    return;
  }
  if (isSpdyUpgrade(request)) await serveSpdy(upgrade, asked);
  else await serveWebSocket(upgrade, asked);
}

async function serveSpdy({ request, socket, head, strangers }: Upgrade, asked: StreamRequest): Promise<void> {
  const protocol = negotiate(
    request,
    asked.kind === 'port-forward' ? [portForwardProtocol] : spdyRemoteProtocols,
  );
  if (protocol === undefined) {
    refuse(socket, '403 Forbidden', 'none of the offered stream protocols is supported');
    return;
  }
  strangers.delete(socket);
  acceptUpgrade(socket, head, protocol);
  const session = new SpdySession(socket);
  if (asked.kind === 'port-forward') await servePortForward(session, asked.connect);
  else
    await serveCommand(
      session,
      async () => await openSpdyChannels(session, protocol, asked.options),
      asked.start,
    );
}

async function serveCommand(
  session: SpdySession,
  open: () => Promise<RemoteChannels>,
  start: () => Promise<ProcessSession>,
): Promise<void> {
  try {
    await serveRemoteCommand(await open(), start);
  } finally {
    await session.close();
  }
}

async function serveWebSocket(upgrade: Upgrade, asked: StreamRequest): Promise<void> {
  const { webSockets, tunnels, request, socket } = upgrade;
  if (asked.kind !== 'port-forward') {
    if (!offersOneOf(webSocketRemoteProtocols, upgrade)) return;
    const webSocket = await openWebSocket(webSockets.command, upgrade);
    await serveRemoteCommand(openWebSocketChannels(webSocket, asked.options), asked.start);
    return;
  }
  if (tunnels.accept(request)) {
    const webSocket = await openWebSocket(webSockets.ports, upgrade);
    await servePortForward(new SpdySession(createWebSocketStream(webSocket)), asked.connect);
    return;
  }
  if (!offersOneOf(webSocketPortProtocols, upgrade)) return;
  let ports: readonly number[];
  try {
    ports = portsOf(asked.ports, new URL(request.url ?? '/', 'http://localhost').searchParams);
  } catch (error) {
    refuse(socket, '400 Bad Request', messageOf(error));
    return;
  }
  await servePortChannels(await openWebSocket(webSockets.ports, upgrade), ports, asked.connect);
}

/** Answers for itself when not: a client that is answered with no protocol at all gives up, but the command would have run. */
function offersOneOf(protocols: readonly string[], { request, socket }: Upgrade): boolean {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  const names = new Set(offered.filter((name) => name !== ''));
  if (names.size === 0 || protocols.some((protocol) => names.has(protocol))) return true;
  refuse(socket, '403 Forbidden', 'none of the offered subprotocols is supported');
  return false;
}

async function openWebSocket(
  server: WebSocketServer,
  { request, socket, head, strangers }: Upgrade,
): Promise<WebSocket> {
  const { promise, resolve } = Promise.withResolvers<WebSocket>();
  server.handleUpgrade(request, socket, head, (opened) => {
    strangers.delete(socket);
    // Here, not a turn later: the first frame may be broken already, and an error without a listener ends the daemon.
    opened.on('error', () => opened.terminate());
    resolve(opened);
  });
  return await promise;
}

/** `protocols`: best first. A client that offers none is taken at the oldest. */
function webSocketServer(protocols: readonly string[]): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    maxPayload: 16 * 1024 * 1024,
    handleProtocols: (offered) => protocols.find((protocol) => offered.has(protocol)) ?? false,
  });
}

/** The client stays a stranger, whose connection ends by itself if it does not end it. */
function refuse(socket: Duplex, status: string, message: string): void {
  // Its end is behind what it has sent, and what is not read keeps the connection for ever.
  socket.resume();
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
  );
}
