/** The second half of hack/critest, in the node or the VM: runs critest and prints a table (usage: hack/critest). */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseOptions } from './options.ts';
import { printResults, summarize } from './results.ts';
import { runAll } from './whole-run.ts';

const options = parseOptions(process.argv.slice(2));
const startedAt = Date.now();
const run = await runAll(options);
const summary = summarize(run, options.runtime);
printResults(run, summary);
console.log(`${Math.round((Date.now() - startedAt) / 1000)} s, streams over ${options.streaming}`);
writeFileSync(join(options.logs, 'summary.json'), JSON.stringify(summary));
process.exitCode = summary.isGood ? 0 : 1;
