#!/usr/bin/env node
/** `gantryd`: arguments, signals, exit code. */
import './small-heap.ts';
import { parseArgs } from 'node:util';
import { defaultConfigPath, loadConfig, printDefaultConfig } from './config.ts';
import packageJson from '../package.json' with { type: 'json' };
import { EngineError, messageOf } from './lib/errors.ts';

const usage = `gantryd: a container engine for Kubernetes nodes

usage:
  gantryd [--config FILE]              run the daemon
  gantryd [--config FILE] config check check the configuration and print nothing if it is right
  gantryd config default               print every key with its default
  gantryd --version | --help

FILE is ${defaultConfigPath} unless given; conf.d/*.toml beside it are read too.
`;

const exitUsage = 2;

/** Stops by itself on SIGTERM and SIGINT; a second one ends it at once. Containers go on. */
async function runDaemon(path: string, mustExist: boolean): Promise<void> {
  const config = loadConfig(path, { mustExist });
  const { shareArenas } = await import('./linux/allocation-arenas.ts');
  shareArenas();
  const [{ startDaemon }, { notifyService }] = await Promise.all([
    import('./daemon.ts'),
    import('./linux/service-notify.ts'),
  ]);
  const { promise: stopRequested, resolve: stop } = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      process.once(signal, () => process.exit(1));
      stop(signal);
    });
  }
  await using daemon = await startDaemon(config, packageJson.version);
  notifyService('READY=1');
  const signal = await stopRequested;
  notifyService('STOPPING=1');
  daemon.log.info({ signal }, 'stopping; containers go on');
}

async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      version: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) process.stdout.write(usage);
  else if (values.version === true) process.stdout.write(`gantryd ${packageJson.version}\n`);
  else return await dispatch(positionals.join(' '), values.config);
  return 0;
}

async function dispatch(command: string, path: string | undefined): Promise<number> {
  const file = path ?? defaultConfigPath;
  switch (command) {
    case '':
      await runDaemon(file, path !== undefined);
      return 0;
    case 'config default':
      process.stdout.write(printDefaultConfig());
      return 0;
    case 'config check':
      loadConfig(file, { mustExist: path !== undefined });
      return 0;
    default:
      process.stderr.write(`gantryd: unknown command ${JSON.stringify(command)}\n\n${usage}`);
      return exitUsage;
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage =
    error instanceof TypeError || (error instanceof EngineError && error.kind === 'invalid-argument');
  process.stderr.write(`gantryd: ${messageOf(error)}\n`);
  process.exitCode = isUsage ? exitUsage : 1;
}
