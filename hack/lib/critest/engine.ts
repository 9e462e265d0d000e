/** What critest talks to: Gantry, started for it, or an engine that somebody else has started. */
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { startBackground, untilListening } from '../node-e2e/background.ts';
import { writeMirrors } from '../test-images/mirrors.ts';
import type { Options } from './options.ts';

const isVm = process.env['GANTRY_TEST_HOST'] === 'vm';
/** Emulated machines take minutes for what others do at once. */
const readyTimeoutMs = isVm ? 300_000 : 60_000;
const criSocket = '/run/gantry/gantry.sock';
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
  const config = join(logs, 'gantry.toml');
  const handler = basename(runtime);
  writeFileSync(
    config,
    `[images]
certs_dirs = [${JSON.stringify(certs)}]
[runtime]
default_handler = "${handler}"
[runtime.handlers.${handler}]
path = ${JSON.stringify(runtime)}
`,
  );
  const log = join(logs, 'gantryd.log');
  await using stack = new AsyncDisposableStack();
  const background = stack.use(startBackground([process.execPath, main, '--config', config], { log }));
  await untilListening(background, { socket: criSocket, log, timeoutMs: readyTimeoutMs });
  const owned = stack.move();
  return {
    endpoint: `unix://${criSocket}`,
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
