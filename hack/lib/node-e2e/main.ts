/** The second half of hack/node-e2e, inside the node: runs the suite and prints a table (usage: hack/node-e2e). */
import { parseOptions } from './options.ts';
import { printResults } from './results.ts';
import { runAll } from './whole-run.ts';

const options = parseOptions(process.argv.slice(2));
const startedAt = Date.now();
const isGood = printResults(await runAll(options));
console.log(`${Math.round((Date.now() - startedAt) / 60_000)} minutes, ${options.procs} at a time`);
process.exitCode = isGood ? 0 : 1;
