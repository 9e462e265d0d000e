/** One run of critest against an engine that listens. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runLogged } from '../ginkgo/logged-command.ts';
import { readReport, type SuiteReport } from '../ginkgo/report.ts';
import { pinnedDigest } from '../test-images/digest-image.ts';
import type { Engine } from './engine.ts';
import type { Options } from './options.ts';

/** The one spec that needs a certain digest, which critest has built in. */
export const digestSpec = 'public image with digest should be pulled and removed';

export interface CritestRun extends SuiteReport {
  readonly version: string;
  /** Of the specs' order. */
  readonly seed: number;
  /** Whether critest pulls an image by a digest that is not of ours, so that the spec was left out. */
  readonly pinsForeignDigest: boolean;
}

/** Runs it and reads its report. @throws Error when it left none */
export async function runCritest(options: Options, engine: Engine): Promise<CritestRun> {
  const pinsForeignDigest = !pins(pinnedDigest);
  const seed = options.seed ?? Math.ceil(Math.random() * 999_999);
  const report = join(options.logs, 'report.json');
  const webSocket = options.streaming === 'websocket';
  const argv = [
    `-runtime-endpoint=${engine.endpoint}`,
    ...(engine.handler === '' ? [] : [`-runtime-handler=${engine.handler}`]),
    ...(engine.nriSocket === undefined || !knowsNri() ? [] : [`-nri-socket=${engine.nriSocket}`]),
    ...['exec', 'attach', 'portforward'].map((stream) => `-websocket-${stream}=${webSocket}`),
    `-ginkgo.seed=${seed}`,
    '-ginkgo.no-color',
    '-ginkgo.timeout=24h',
    `-ginkgo.json-report=${report}`,
    ...options.focus.map((pattern) => `-ginkgo.focus=${pattern}`),
    ...[...options.skip, ...(pinsForeignDigest ? [digestSpec] : [])].map(
      (pattern) => `-ginkgo.skip=${pattern}`,
    ),
  ];
  const exitCode = await runLogged('critest', argv, { log: join(options.logs, 'critest.log') });
  if (!existsSync(report))
    throw new Error(`critest ended with ${exitCode} and left no report: see critest.log`);
  return { ...readReport(readFileSync(report, 'utf8')), version: versionOf(), seed, pinsForeignDigest };
}

/** Whether the critest of PATH has this digest built in. */
function pins(digest: string): boolean {
  const program = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((directory) => join(directory, 'critest'))
    .find((path) => existsSync(path));
  return program !== undefined && readFileSync(program).includes(`test-image-digest@${digest}`);
}

/** critest 1.36.0 has no specs of NRI, and refuses the option. */
function knowsNri(): boolean {
  const { stdout, stderr } = spawnSync('critest', ['--help'], { encoding: 'utf8' });
  return `${stdout}${stderr}`.includes('nri-socket');
}

function versionOf(): string {
  const { stdout } = spawnSync('critest', ['--version'], { encoding: 'utf8' });
  return /critest version: (\S+)/.exec(stdout)?.[1] ?? 'of an unknown version';
}
