/** critest from beginning to end against Gantry: the registry with its images, the daemon, the suite. */
import { mkdirSync } from 'node:fs';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { foreignEngine, startGantry } from './engine.ts';
import type { Options } from './options.ts';
import { type CritestRun, runCritest } from './suite.ts';

/** Where an engine that somebody else has started is told to find the images. */
const mirrorPort = 5000;

/** Starts what is needed, runs critest, ends it all again. @throws Error when something did not start, or left no report */
export async function runAll(options: Options): Promise<CritestRun> {
  const { endpoint } = options;
  if (endpoint === undefined && process.env['GANTRY_TEST_HOST'] === undefined)
    throw new Error('needs a node of its own: it is started by hack/critest');
  mkdirSync(options.logs, { recursive: true });
  await using registry = await startDockerRegistry({
    storage: options.images,
    ...(endpoint === undefined ? {} : { port: mirrorPort }),
  });
  await using engine =
    endpoint === undefined ? await startGantry(options, registry.host) : foreignEngine(endpoint, options);
  console.log(`critest runs (logs: ${options.logs})`);
  return await runCritest(options, engine);
}
