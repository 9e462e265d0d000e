/** The second half of hack/critest: the registry with the images, an engine, critest, a table (usage: hack/critest). */
import { mkdirSync } from 'node:fs';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { foreignEngine, startGantry } from './engine.ts';
import { parseOptions } from './options.ts';
import { printResults } from './results.ts';
import { runCritest } from './suite.ts';

const mirrorPort = 5000;

async function main(args: readonly string[]): Promise<boolean> {
  const options = parseOptions(args);
  const { endpoint } = options;
  if (endpoint === undefined && process.env['GANTRY_TEST_HOST'] === undefined)
    throw new Error('needs a node of its own: it is started by hack/critest');
  mkdirSync(options.logs, { recursive: true });
  const startedAt = Date.now();
  await using registry = await startDockerRegistry({
    storage: options.images,
    ...(endpoint === undefined ? {} : { port: mirrorPort }),
  });
  await using engine =
    endpoint === undefined ? await startGantry(options, registry.host) : foreignEngine(endpoint, options);
  console.log(`critest runs (logs: ${options.logs})`);
  const run = await runCritest(options, engine);
  const isGood = printResults(run, options.runtime);
  console.log(`${Math.round((Date.now() - startedAt) / 1000)} s, streams over ${options.streaming}`);
  return isGood;
}

process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
