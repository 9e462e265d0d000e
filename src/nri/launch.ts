/** Plugins that are installed on the node: programs in one directory, started by the engine on a socket of their own. */
import { closeSync, readdirSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { readBoundedFile } from '../lib/bounded-file.ts';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { spawnProcess } from '../linux/command.ts';
import type { Poller } from '../linux/poll.ts';
import { programPath } from '../linux/program.ts';
import { socketPair } from '../linux/socket-pair.ts';
import type { Log } from '../telemetry/log.ts';
import {
  isPluginIndex,
  isPluginName,
  registerPlugin,
  type LaunchedIdentity,
  type RegisterDeps,
} from './register.ts';

export interface LaunchOptions {
  /** Programs named `<two digits>-<name>`. */
  readonly directory: string;
  /** `<index>-<name>.conf`, else `<name>.conf`: handed to the plugin as they are. */
  readonly configDirectory: string;
  readonly poller: Poller;
}

const maxConfigBytes = 1024 * 1024;
const socketInPlugin = 3;

/** Starts every installed plugin and takes it up, in the order of their indices. One that fails is logged and left out. */
export async function launchPlugins(
  deps: RegisterDeps,
  options: LaunchOptions,
  stack: AsyncDisposableStack,
): Promise<void> {
  for (const file of pluginFiles(options.directory, deps.log)) {
    try {
      await launch(deps, options, file, stack);
    } catch (error) {
      deps.log.error(
        { plugin: file, error: messageOf(error) },
        'an installed NRI plugin could not be started',
      );
    }
  }
}

async function launch(
  deps: RegisterDeps,
  { directory, configDirectory, poller }: LaunchOptions,
  file: string,
  stack: AsyncDisposableStack,
): Promise<void> {
  const index = file.slice(0, 2);
  const name = file.slice(3);
  const identity: LaunchedIdentity = { index, name, config: configOf(configDirectory, index, name) };
  const [ours, theirs] = socketPair();
  const socket = new Socket({ fd: ours });
  try {
    const child = spawnProcess([`${directory}/${file}`], {
      fds: new Map([[socketInPlugin, theirs]]),
      env: {
        PATH: programPath,
        NRI_PLUGIN_NAME: name,
        NRI_PLUGIN_IDX: index,
        NRI_PLUGIN_SOCKET: String(socketInPlugin),
      },
      newSession: true,
      poller,
    });
    stack.defer(() => void child.kill('SIGKILL'));
    // One that we have given up goes too: nobody would start it a second time beside it.
    socket.once('close', () => void child.kill('SIGKILL'));
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    closeSync(theirs);
  }
  await registerPlugin(deps, socket, identity);
}

/** The names of the programs in the directory, in order. What others than root could have put there is not started. */
function pluginFiles(directory: string, log: Log): string[] {
  const files: string[] = [];
  for (const name of namesIn(directory)) {
    const { mode, uid, isFile } = statOf(`${directory}/${name}`);
    if (!isFile || (mode & 0o111) === 0) continue;
    if (!/^..-/.test(name) || !isPluginIndex(name.slice(0, 2)) || !isPluginName(name.slice(3)))
      log.warn(
        { file: `${directory}/${name}` },
        'not an NRI plugin: its name is not two digits, - and a name',
      );
    else if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
      log.error(
        { file: `${directory}/${name}` },
        'an NRI plugin that others than root may write to is not started',
      );
    else files.push(name);
  }
  return files.toSorted();
}

function statOf(path: string) {
  const stat = statSync(path, { throwIfNoEntry: false });
  return { mode: stat?.mode ?? 0, uid: stat?.uid ?? -1, isFile: stat?.isFile() ?? false };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function configOf(directory: string, index: string, name: string): string {
  for (const path of [`${directory}/${index}-${name}.conf`, `${directory}/${name}.conf`]) {
    try {
      return readBoundedFile(path, maxConfigBytes);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') continue;
      throw new EngineError('invalid-argument', `${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  return '';
}
