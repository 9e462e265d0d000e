/**
 * What daemons were asked while which test ran, kept for hack/rpc-counts.ts: one file for each test file, in the folder that
 * `GANTRY_REQUEST_LOG` names. Without it nothing is kept.
 */
import { appendFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach } from 'node:test';

const folder = process.env['GANTRY_REQUEST_LOG'];
const name = basename(process.argv[1] ?? '', '.test.ts');

/** One JSON object a line, as the daemon's own lines are. */
function append(lines: readonly string[]): void {
  if (folder === undefined) return;
  appendFileSync(join(folder, `${name}.jsonl`), lines.map((line) => `${line}\n`).join(''));
}

function mark(test: string): void {
  append([JSON.stringify({ time: new Date().toISOString(), test })]);
}

if (folder !== undefined) {
  beforeEach((context) => mark(context.fullName));
  afterEach(() => mark(''));
}

/** The configuration with which a daemon tells of every request, reads too. */
export function tellingRequests(toml: string): string {
  return folder === undefined || toml.includes('[log]') ? toml : `${toml}\n[log]\nlevel = "debug"\n`;
}

/** Keeps what a daemon told in its log. */
export function keepRequests(log: string): void {
  append(log.split('\n').filter((line) => line.includes('"method":"')));
}
