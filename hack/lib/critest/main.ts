/** The second half of hack/critest, in the node or the VM: runs critest and prints a table (usage: hack/critest). */
import { parseOptions } from './options.ts';
import { printResults } from './results.ts';
import { runAll } from './whole-run.ts';

const options = parseOptions(process.argv.slice(2));
const startedAt = Date.now();
const run = await runAll(options);
const isGood = printResults(run, options.runtime);
console.log(`${Math.round((Date.now() - startedAt) / 1000)} s, streams over ${options.streaming}`);
process.exitCode = isGood ? 0 : 1;
