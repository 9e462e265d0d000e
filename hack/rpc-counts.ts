/**
 * Prints how many tests call each RPC, as a table for docs/conformance.md:
 *
 *   hack/critest --logs /tmp/critest
 *   mkdir /tmp/requests; GANTRY_REQUEST_LOG=/tmp/requests hack/test test/e2e
 *   node hack/rpc-counts.ts /tmp/critest /tmp/requests
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { callersOf, type Recorded, recordedCritest, recordedTests, rpcsOf } from './lib/rpc-counts.ts';

const [critestLogs, requestLogs] = process.argv.slice(2);
if (critestLogs === undefined || requestLogs === undefined)
  throw new Error('usage: node hack/rpc-counts.ts CRITEST-LOGS REQUEST-LOGS');
const proto = readFileSync(join(import.meta.dirname, '../proto/runtime/v1/api.proto'), 'utf8');

function count(runs: readonly Recorded[]): { readonly total: number; of(rpc: string): number } {
  const callers = runs.map(callersOf);
  return {
    // A test that ran twice is one test.
    total: new Set(runs.flatMap(({ tests }) => tests.map(({ name }) => name))).size,
    of: (rpc) => callers.reduce((sum, names) => sum + (names.get(rpc)?.size ?? 0), 0),
  };
}

const critest = count([recordedCritest(critestLogs)]);
const own = count(recordedTests(requestLogs));
console.log(`| RPC | specs of critest (${critest.total}) | end-to-end tests (${own.total}) |`);
console.log('|---|---|---|');
for (const rpc of rpcsOf(proto)) console.log(`| ${rpc} | ${critest.of(rpc)} | ${own.of(rpc)} |`);
