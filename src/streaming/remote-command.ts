/** Joins a client's channels with a process: exec and attach, over either protocol. */
import { finished, pipeline } from 'node:stream/promises';
import type { Readable, Writable } from 'node:stream';
import type { ProcessSession, SessionEnd } from '../containers/process-session.ts';
import { messageOf } from '../lib/errors.ts';
import type { RemoteChannels } from './channels.ts';

/** After the process has ended a grandchild may still hold its output open: it is heard this long and no longer. */
const drainGraceMs = 5_000;

/**
 * Starts the process, moves bytes both ways until it ends or the client goes, and reports how it ended. Never throws:
 * what fails is told to the client on the error channel.
 */
export async function serveRemoteCommand(
  channels: RemoteChannels,
  start: () => Promise<ProcessSession>,
): Promise<void> {
  let session: ProcessSession;
  try {
    session = await start();
  } catch (error) {
    await channels.report({ failure: messageOf(error) });
    await channels.close();
    return;
  }
  try {
    channels.onResize((size) => session.resize(size));
    const outputs = Promise.all([
      forward(session.stdout, channels.stdout),
      forward(session.stderr, channels.stderr),
    ]);
    forwardInput(channels.stdin, session.stdin);
    const end = await Promise.race([session.ended, channels.closed.then(() => undefined)]);
    if (end !== undefined) await finish(channels, outputs, end);
  } catch (error) {
    await channels.report({ failure: messageOf(error) });
  } finally {
    session.close();
    await channels.close();
  }
}

async function finish(channels: RemoteChannels, outputs: Promise<unknown>, end: SessionEnd): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, drainGraceMs);
  // A slow client is waited for; only silence of the process's own side is cut short by the grace.
  await Promise.race([outputs, late.then(async () => await idle(channels)), channels.closed]).finally(() =>
    clearTimeout(timer),
  );
  await channels.report(end);
}

/** Settles when nothing is left in the channels' own buffers. */
async function idle({ stdout, stderr }: RemoteChannels): Promise<void> {
  for (const writable of [stdout, stderr]) {
    if (writable === undefined || writable.destroyed || writable.writableFinished) continue;
    writable.end();
    await finished(writable).catch(() => undefined);
  }
}

/** The client's reader going away must not fail the process's other streams. */
async function forward(source: Readable | undefined, target: Writable | undefined): Promise<void> {
  if (source === undefined) {
    target?.end();
    return;
  }
  if (target === undefined) {
    source.resume();
    return;
  }
  await pipeline(source, target).catch(() => source.resume());
}

function forwardInput(source: Readable | undefined, target: Writable | undefined): void {
  if (source === undefined || target === undefined) return;
  // A process that has closed its input: the rest is dropped, as a shell's pipe would with SIGPIPE ignored.
  pipeline(source, target).catch(() => source.resume());
}
