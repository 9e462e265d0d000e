import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { summarize } from '../../hack/lib/critest/results.ts';
import { judgeSkip } from '../../hack/lib/critest/skip-reasons.ts';
import type { CritestRun } from '../../hack/lib/critest/suite.ts';
import { digestImage, pinnedDigest } from '../../hack/lib/test-images/digest-image.ts';

const userNamespaces = 'no runtime handler found which supports user namespaces';
const recursiveReadOnly = 'runtime does not implement recursive readonly mounts';

/** A runtime that says these are its features; without any it knows no such command. */
function runtime(t: TestContext, features?: object): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-critest-report-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'runtime');
  const answer = features === undefined ? 'exit 1' : `echo '${JSON.stringify(features)}'`;
  writeFileSync(path, `#!/bin/sh\ncase $1 in --version) echo "runtime 1.0" ;; *) ${answer} ;; esac\n`);
  chmodSync(path, 0o755);
  return path;
}

function runOf(...specs: CritestRun['specs']): CritestRun {
  return { specs, suiteFailures: [], version: '1', seed: 1, pinsForeignDigest: false };
}

const spec = (state: 'passed' | 'failed' | 'skipped', message = '') =>
  ({ name: `it ${state}`, state, seconds: 1, message }) as const;

test('a spec that the runtime could not pass is the host’s lack, one that it could is the engine’s', (t) => {
  const able = runtime(t, {
    mountOptions: ['ro', 'rro'],
    linux: { mountExtensions: { idmap: { enabled: true } } },
  });
  const unable = runtime(t, { mountOptions: ['ro'] });
  for (const message of [userNamespaces, recursiveReadOnly]) {
    assert.equal(judgeSkip(message, able).lackOf, 'engine');
    assert.equal(judgeSkip(message, unable).lackOf, 'host');
    assert.match(judgeSkip(message, unable).reason, /^runtime 1\.0/);
  }
});

test('that ids cannot be mapped where the engine says it keeps its files is not believed without a look', (t) => {
  const path = runtime(t);
  const message = 'ID mapping is not supported with path: /proc: invalid argument';
  assert.deepEqual(judgeSkip(message, path), { lackOf: 'engine', reason: message });
  assert.equal(judgeSkip(message, path, '/proc').lackOf, 'host');
});

test('whatever is not known to be the host’s lack is the engine’s', (t) => {
  const path = runtime(t);
  assert.deepEqual(judgeSkip('Runtime accepted it', path), {
    lackOf: 'engine',
    reason: 'Runtime accepted it',
  });
});

test('a run is good only when nothing failed, the engine lacked nothing, and something passed', (t) => {
  const path = runtime(t, {});
  assert.equal(summarize(runOf(spec('passed'), spec('skipped', recursiveReadOnly)), path).isGood, true);
  assert.equal(summarize(runOf(spec('passed'), spec('failed')), path).isGood, false);
  assert.equal(summarize(runOf(spec('passed'), spec('skipped', 'it did not')), path).isGood, false);
  assert.equal(summarize(runOf(), path).isGood, false);
  const broken = { ...runOf(spec('passed')), suiteFailures: ['no client'] };
  assert.equal(summarize(broken, path).isGood, false);
});

test('a critest that pulls by an upstream digest leaves that spec to others, by name', (t) => {
  const run = { ...runOf(spec('passed')), pinsForeignDigest: true };
  const [skip] = summarize(run, runtime(t)).skipped;
  assert.match(skip?.name ?? '', /with digest/);
  assert.equal(skip?.why.lackOf, 'host');
});

test('the image that is pulled by digest is the same on every machine', async () => {
  const { image } = await digestImage('registry.example/x:1');
  assert.equal(image.manifest.digest, pinnedDigest);
});
