import { chmodSync, mkdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { EngineError, messageOf } from '../lib/errors.ts';
import { isSocketServed } from '../lib/served-socket.ts';

/** Connections that have not become a plugin yet, and those that have. */
const maxConnections = 128;

/**
 * Listens for plugins. Whoever can connect can change every container, so only root can: the directory is made for root alone.
 *
 * @throws EngineError failed-precondition when another engine answers on the socket, or others than root may replace it
 */
export async function listenForPlugins(
  path: string,
  onConnection: (socket: Socket) => void,
  onError: (error: unknown) => void,
): Promise<AsyncDisposable> {
  const directory = dirname(path);
  const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = statSync(directory);
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
    throw new EngineError('failed-precondition', `others than root may write to ${directory}`);
  if (await isSocketServed(path))
    throw new EngineError('failed-precondition', `another engine serves plugins on ${path}`);
  rmSync(path, { force: true });
  const server = createServer(onConnection);
  server.maxConnections = maxConnections;
  const listening = Promise.withResolvers<void>();
  server.once('error', (error) =>
    listening.reject(new EngineError('internal', `listen on ${path}: ${messageOf(error)}`, { cause: error })),
  );
  server.listen(path, () => listening.resolve());
  await listening.promise;
  server.on('error', onError);
  chmodSync(path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      rmSync(path, { force: true });
      if (made !== undefined) removeIfEmpty(directory);
    },
  };
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody has put something there.
  }
}
