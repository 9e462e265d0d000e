/** critest's specs as tests of ours. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, test } from 'node:test';
import type { Options } from '../../../hack/lib/critest/options.ts';
import { skipsOf } from '../../../hack/lib/critest/results.ts';
import type { CritestRun } from '../../../hack/lib/critest/suite.ts';
import { runAll } from '../../../hack/lib/critest/whole-run.ts';

/** Why critest cannot run here, or undefined. */
function critestSkipReason(images: string | undefined): string | undefined {
  if (process.env['GANTRY_TEST_HOST'] === undefined)
    return 'needs a node of its own: run it through hack/test, or hack/critest';
  const onPath = (process.env['PATH'] ?? '').split(delimiter);
  if (!onPath.some((directory) => existsSync(join(directory, 'critest'))))
    return 'critest (kubernetes-sigs/cri-tools) is not on PATH, and there is no Go to build it with';
  return images === undefined
    ? "critest's images are missing: hack/test-images critest makes them"
    : undefined;
}

/**
 * Runs the specs that match one of `focus` (all, when it is empty), and declares a test for each of them. `images` is a
 * registry's storage with what they ask for.
 */
export async function defineCritestTests(
  images: string | undefined,
  focus: readonly string[] = [],
): Promise<void> {
  const reason = critestSkipReason(images);
  if (reason !== undefined) {
    test('critest', { skip: reason }, () => undefined);
    return;
  }
  const options: Options = {
    images: images ?? '',
    runtime: execFileSync('which', ['crun'], { encoding: 'utf8' }).trim(),
    logs: mkdtempSync(join(tmpdir(), 'gantry-critest-')),
    streaming: 'spdy',
    seed: undefined,
    focus,
    skip: [],
    endpoint: undefined,
    handler: undefined,
    nriSocket: undefined,
  };
  const run = await runAll(options);
  if (run.specs.some(({ state }) => state === 'failed'))
    console.log(readFileSync(join(options.logs, 'gantryd.log'), 'utf8').split('\n').slice(-200).join('\n'));
  rmSync(options.logs, { recursive: true });
  declare(run, options.runtime);
}

function declare(run: CritestRun, runtime: string): void {
  describe(`critest ${run.version}, seed ${run.seed}`, () => {
    test('the suite ran', () => assert.deepEqual(run.suiteFailures, []));
    for (const { name, state, message } of run.specs)
      if (state !== 'skipped') test(name, () => assert.equal(state, 'passed', message));
    const skips = skipsOf(run, runtime);
    for (const [reason, group] of Map.groupBy(skips, ({ why }) => why.reason)) {
      const isHost = group.every(({ why }) => why.lackOf === 'host');
      const title = group.map(({ name }) => name.replace('[k8s.io] ', '')).join('; ');
      if (isHost) test(`${group.length} specs: ${title}`, { skip: reason }, () => undefined);
      else test(title, () => assert.fail(`the engine skipped it: ${reason}`));
    }
  });
}
