/** Exec and attach over SPDY: one stream per channel, named by its `streamtype` header. */
import { EngineError } from '../../lib/errors.ts';
import {
  parseWindowSize,
  statusJson,
  statusText,
  type RemoteChannels,
  type SessionOutcome,
  type StreamOptions,
} from '../channels.ts';
import type { SpdySession, SpdyStream } from './session.ts';

/** Best first. Version 5 is WebSocket's alone. */
export const spdyRemoteProtocols = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const;

const openDeadlineMs = 30_000;

/**
 * Waits until the client has opened every channel that `options` names.
 *
 * @throws EngineError deadline-exceeded, cancelled
 */
export async function openSpdyChannels(
  session: SpdySession,
  protocol: string,
  options: StreamOptions,
): Promise<RemoteChannels> {
  const wanted = wantedChannels(protocol, options);
  const opened = await collectStreams(session, wanted);
  const error = opened.get('error');
  return {
    ...stream(opened, 'stdin'),
    ...stream(opened, 'stdout'),
    ...stream(opened, 'stderr'),
    onResize(listener) {
      readSizes(opened.get('resize'), listener);
    },
    async report(outcome) {
      await endWith(error, reportText(protocol, outcome));
    },
    async close() {
      await session.close();
    },
    closed: session.closed,
  };
}

function reportText(protocol: string, outcome: SessionOutcome): string {
  return protocol === 'v4.channel.k8s.io' ? statusJson(outcome) : statusText(outcome);
}

function wantedChannels(protocol: string, options: StreamOptions): string[] {
  const wanted = ['error'];
  if (options.stdin) wanted.push('stdin');
  if (options.stdout) wanted.push('stdout');
  if (options.stderr && !options.tty) wanted.push('stderr');
  if (options.tty && (protocol.startsWith('v3') || protocol.startsWith('v4'))) wanted.push('resize');
  return wanted;
}

async function collectStreams(
  session: SpdySession,
  wanted: readonly string[],
): Promise<Map<string, SpdyStream>> {
  const opened = new Map<string, SpdyStream>();
  const { promise: complete, resolve, reject } = Promise.withResolvers<void>();
  using _ = session.streams.subscribe((stream) => {
    const type = stream.headers.get('streamtype')?.[0] ?? '';
    if (wanted.includes(type) && !opened.has(type)) opened.set(type, stream);
    else stream.destroy();
    if (opened.size === wanted.length) resolve();
  });
  void session.closed.then(() =>
    reject(new EngineError('cancelled', 'the client closed the connection before it opened its streams')),
  );
  const timer = setTimeout(
    () =>
      reject(
        new EngineError('deadline-exceeded', `the client did not open the streams ${wanted.join(', ')}`),
      ),
    openDeadlineMs,
  );
  await complete.finally(() => clearTimeout(timer));
  return opened;
}

function stream<Name extends string>(
  opened: ReadonlyMap<string, SpdyStream>,
  name: Name,
): Partial<Record<Name, SpdyStream>> {
  const found = opened.get(name);
  return found === undefined ? {} : ({ [name]: found } as Record<Name, SpdyStream>);
}

/** Sizes come as JSON objects one after the other, with or without a newline, and may be cut anywhere. */
function readSizes(
  resize: SpdyStream | undefined,
  listener: Parameters<RemoteChannels['onResize']>[0],
): void {
  let text = '';
  resize?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('latin1')).slice(-1024);
    for (let end = text.indexOf('}'); end !== -1; end = text.indexOf('}')) {
      const size = parseWindowSize(text.slice(0, end + 1));
      text = text.slice(end + 1);
      if (size !== undefined) listener(size);
    }
  });
}

async function endWith(target: SpdyStream | undefined, text: string): Promise<void> {
  if (target === undefined || target.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  target.once('close', resolve);
  target.end(text, () => resolve());
  await promise;
}
