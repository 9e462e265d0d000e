import type { Poller } from '../linux/poll.ts';
import { messageOf } from '../lib/errors.ts';
import { launchPlugins } from './launch.ts';
import { listenForPlugins } from './listen.ts';
import { registerPlugin, type RegisterDeps } from './register.ts';

export interface NriOptions extends RegisterDeps {
  readonly socket: string;
  readonly pluginDirectory: string;
  readonly pluginConfigDirectory: string;
  readonly poller: Poller;
}

const farewellMs = 500;

/**
 * Starts the installed plugins, then listens for others. A node whose plugin socket cannot be had still runs pods, without
 * plugins: the log says so. Plugins are told when the engine ends.
 */
export async function startNri(options: NriOptions, stack: AsyncDisposableStack): Promise<void> {
  const { log, plugins, socket } = options;
  const onError = (error: unknown): void =>
    log.error({ error: messageOf(error) }, 'listening for NRI plugins');
  await launchPlugins(
    options,
    {
      directory: options.pluginDirectory,
      configDirectory: options.pluginConfigDirectory,
      poller: options.poller,
    },
    stack,
  );
  stack.defer(async () => await plugins.shutDown(farewellMs));
  try {
    stack.use(
      await listenForPlugins(socket, (connection) => void registerPlugin(options, connection), onError),
    );
  } catch (error) {
    log.error({ socket, error: messageOf(error) }, 'no NRI plugin can connect');
  }
}
