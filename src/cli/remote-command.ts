/** The client's side of exec and attach: WebSocket, subprotocol v5.channel.k8s.io. */
import type { Readable } from 'node:stream';
import WebSocket from 'ws';
import { EngineError, messageOf } from '../lib/errors.ts';
import type { TerminalSize } from './terminal.ts';

const protocol = 'v5.channel.k8s.io';
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;
const connectTimeoutMs = 30_000;

/** Where bytes go; the promise settles when more may follow. */
type Sink = (data: Buffer) => Promise<void>;

export interface RemoteCommandOptions {
  /** The one-time URL that Exec or Attach gave. */
  readonly url: string;
  /** Read to its end and passed on. */
  readonly stdin?: Readable | undefined;
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Calls back with the sizes of the terminal. */
  readonly watchSize?: ((listener: (size: TerminalSize) => void) => Disposable) | undefined;
}

/**
 * Moves bytes both ways until the command has ended. Gives its exit code.
 *
 * @throws EngineError unavailable when the connection fails or breaks, internal with the daemon's words when the command could not be run
 */
export async function runRemoteCommand(options: RemoteCommandOptions): Promise<number> {
  using stack = new DisposableStack();
  const socket = new WebSocket(options.url.replace(/^http/, 'ws'), protocol, {
    perMessageDeflate: false,
    handshakeTimeout: connectTimeoutMs,
  });
  stack.defer(() => socket.terminate());
  const outcome = Promise.withResolvers<number>();
  // It may fail while the connection is still awaited.
  outcome.promise.catch(() => undefined);
  let status: number | undefined;
  let written = Promise.resolve();
  socket.on('message', (message: Buffer) => {
    const data = message.subarray(1);
    const sink = message[0] === channel.stdout ? options.stdout : options.stderr;
    if (message[0] === channel.error) {
      try {
        status = exitCodeOf(data.toString('utf8'));
      } catch (error) {
        outcome.reject(error);
      }
    } else if ((message[0] === channel.stdout || message[0] === channel.stderr) && data.length > 0) {
      socket.pause();
      written = written.then(async () => await sink(data)).finally(() => socket.resume());
      written.catch(outcome.reject);
    }
  });
  socket.on('close', () => {
    const finish = (): void =>
      status === undefined
        ? outcome.reject(new EngineError('unavailable', 'the connection broke before the command ended'))
        : outcome.resolve(status);
    written.then(finish, outcome.reject);
  });
  await opened(socket, outcome.reject);
  if (options.watchSize !== undefined) stack.use(options.watchSize((size) => sendSize(socket, size)));
  if (options.stdin !== undefined) stack.use(forwardInput(socket, options.stdin));
  return await outcome.promise;
}

async function opened(socket: WebSocket, onError: (reason: unknown) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('open', resolve);
  socket.on('error', (cause) => {
    const error = new EngineError('unavailable', `connect for streaming: ${messageOf(cause)}`, { cause });
    reject(error);
    onError(error);
  });
  await promise;
}

function sendSize(socket: WebSocket, { columns, rows }: TerminalSize): void {
  send(socket, channel.resize, Buffer.from(JSON.stringify({ Width: columns, Height: rows })));
}

/** Ends its half of the connection when standard input ends: the command sees the end, and its output goes on. */
function forwardInput(socket: WebSocket, stdin: Readable): Disposable {
  const onData = (data: Buffer): void => {
    stdin.pause();
    send(socket, channel.stdin, data, () => stdin.resume());
  };
  const onEnd = (): void => send(socket, channel.close, Buffer.from([channel.stdin]));
  stdin.on('data', onData);
  stdin.once('end', onEnd);
  return {
    [Symbol.dispose]() {
      stdin.off('data', onData);
      stdin.off('end', onEnd);
      stdin.pause();
    },
  };
}

function send(socket: WebSocket, number: number, data: Buffer, done: () => void = () => undefined): void {
  if (socket.readyState === socket.OPEN) socket.send(Buffer.concat([Buffer.from([number]), data]), done);
}

interface WireStatus {
  readonly status?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

/** Reads the `metav1.Status` that ends a session. @throws EngineError internal when the command could not be run */
export function exitCodeOf(text: string): number {
  let status: WireStatus;
  try {
    status = JSON.parse(text) as WireStatus;
  } catch (cause) {
    throw new EngineError('internal', text, { cause });
  }
  if (status.status === 'Success') return 0;
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (status.reason === 'NonZeroExitCode' && code !== undefined && /^\d+$/.test(code)) return Number(code);
  throw new EngineError('internal', status.message ?? text);
}
