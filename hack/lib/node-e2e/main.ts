/** The second half of hack/node-e2e, inside the node: images, an engine, the suite, a table (usage: hack/node-e2e). */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { writeMirrors } from '../test-images/mirrors.ts';
import { type RunningEngine, startEngine } from './engines.ts';
import { prepareNode } from './node-setup.ts';
import { type Options, parseOptions } from './options.ts';
import { printResults } from './results.ts';
import { runSuite } from './suite.ts';

const isVm = process.env['GANTRY_TEST_HOST'] === 'vm';
const minuteMs = 60_000;

async function main(args: readonly string[]): Promise<boolean> {
  if (process.env['GANTRY_TEST_HOST'] === undefined)
    throw new Error('needs a node of its own: it is started by hack/node-e2e');
  const options = parseOptions(args);
  const started = Date.now();
  await using stack = new AsyncDisposableStack();
  prepareNode(process.env['GANTRY_VM_KERNEL']);
  const directory = mkdtempSync(join(tmpdir(), 'node-e2e-'));
  mkdirSync(options.logs, { recursive: true });
  const registry = stack.use(await startDockerRegistry({ storage: options.images }));
  const certsDirectory = join(directory, 'certs.d');
  writeMirrors(certsDirectory, registry.host);
  const engine = stack.use(
    await startEngine({
      name: options.engine,
      runtime: options.runtime,
      program: options.program,
      certsDirectory,
      directory: options.logs,
      readyTimeoutMs: isVm ? 5 * minuteMs : minuteMs,
    }),
  );
  console.log(`${options.engine} with ${options.runtime} is up; the suite runs (logs: ${options.logs})`);
  const report = await runSuite(options, engine, directory);
  const isGood = printResults(report) && engineLived(options, engine);
  console.log(`${Math.round((Date.now() - started) / minuteMs)} minutes, ${options.procs} at a time`);
  return isGood;
}

/** Serial specs kill it; otherwise it must have lived through all of them. */
function engineLived(options: Options, engine: RunningEngine): boolean {
  const { deaths } = engine.process;
  if (deaths > 0) console.log(`${options.engine} ended and was started again ${deaths} times`);
  return deaths === 0 || options.isSerial;
}

process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
