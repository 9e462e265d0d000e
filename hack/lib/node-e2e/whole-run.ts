/** The node suite from beginning to end: the node made ready, a registry with its images, an engine, the suite. */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { writeMirrors } from '../test-images/mirrors.ts';
import { startEngine } from './engines.ts';
import { prepareNode } from './node-setup.ts';
import type { Options } from './options.ts';
import type { SuiteReport } from '../ginkgo/report.ts';
import { runSuite } from './suite.ts';

/**
 * Starts what is needed, runs the suite, ends it all again. An engine that ended on the way is a failure of the suite,
 * except where specs are meant to kill it.
 *
 * @throws Error when something did not start, or left no report
 */
export async function runAll(options: Options): Promise<SuiteReport> {
  if (process.env['GANTRY_TEST_HOST'] === undefined)
    throw new Error('needs a node of its own: it is started by hack/node-e2e');
  prepareNode(process.env['GANTRY_VM_KERNEL']);
  const directory = mkdtempSync(join(tmpdir(), 'node-e2e-'));
  mkdirSync(options.logs, { recursive: true });
  await using registry = await startDockerRegistry({ storage: options.images });
  const certsDirectory = join(directory, 'certs.d');
  writeMirrors(certsDirectory, registry.host);
  await using engine = await startEngine({
    name: options.engine,
    runtime: options.runtime,
    program: options.program,
    certsDirectory,
    directory: options.logs,
  });
  console.log(`${options.engine} with ${options.runtime} is up; the suite runs (logs: ${options.logs})`);
  const report = await runSuite(options, engine, directory);
  const { deaths } = engine.process;
  if (deaths === 0 || options.isSerial) return report;
  const death = `${options.engine} ended and was started again ${deaths} times`;
  return { ...report, suiteFailures: [...report.suiteFailures, death] };
}
