/** What critest talks to: Gantry, started for it, or an engine that somebody else has started. */
import { basename, join } from 'node:path';
import { startBackground, untilListening } from '../engines/background.ts';
import { readyTimeoutMs } from '../engines/command.ts';
import { configureGantry } from '../engines/gantry.ts';
import { writeMirrors } from '../test-images/mirrors.ts';
import type { Options } from './options.ts';

const nriSocket = '/var/run/nri/nri.sock';
const main = join(import.meta.dirname, '../../../dist/main.js');

export interface Engine extends AsyncDisposable {
  /** `unix:///run/gantry/gantry.sock`. */
  readonly endpoint: string;
  /** Empty for the default one. */
  readonly handler: string;
  readonly nriSocket: string | undefined;
}

/** Starts Gantry with the runtime that is to be tested, its images mirrored by the registry at `registryHost`. */
export async function startGantry(options: Options, registryHost: string): Promise<Engine> {
  const { logs, runtime } = options;
  const certs = join(logs, 'certs.d');
  writeMirrors(certs, registryHost);
  const { argv, socket } = configureGantry({
    program: main,
    directory: logs,
    handlers: { [basename(runtime)]: runtime },
    // Reads too are in the log: hack/rpc-counts.ts counts by it.
    sections: { images: { certs_dirs: [certs] }, log: { level: 'debug' } },
  });
  const log = join(logs, 'gantryd.log');
  await using stack = new AsyncDisposableStack();
  const background = stack.use(startBackground(argv, { log }));
  await untilListening(background, { socket, log, timeoutMs: readyTimeoutMs });
  const owned = stack.move();
  return {
    endpoint: `unix://${socket}`,
    handler: '',
    nriSocket,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** The engine that the options name. */
export function foreignEngine(endpoint: string, options: Options): Engine {
  return {
    endpoint,
    handler: options.handler ?? '',
    nriSocket: options.nriSocket,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
