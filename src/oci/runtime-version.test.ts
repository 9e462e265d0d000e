import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { hasLinearCpuWeight, identifyRuntime, losesMountsBelow } from './runtime-version.ts';

describe('a program that answers like a runtime', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'gantry-runtime-'));
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });

  function program(name: string, version: string, features?: string): string {
    const path = join(directory, name);
    const answer = features === undefined ? 'echo unknown command >&2; exit 1' : `echo '${features}'`;
    const script = `#!/bin/sh\ncase "$1" in --version) printf '%s\\n' '${version}' 'spec: 1.0.0';; *) ${answer};; esac\n`;
    writeFileSync(path, script, { mode: 0o755 });
    return path;
  }

  test('says who it is', async () => {
    assert.deepEqual(await identifyRuntime(program('a', 'crun version 1.8.1')), {
      kind: 'crun',
      version: '1.8.1',
    });
    assert.deepEqual(await identifyRuntime(program('b', 'runc version 1.1.5+ds1')), {
      kind: 'runc',
      version: '1.1.5+ds1',
    });
    const runsc = await identifyRuntime(program('c', 'runsc version release-20260801.0'));
    assert.deepEqual(runsc, { kind: 'other', version: 'release-20260801.0' });
  });

  test('a missing or failing one is named', async () => {
    await assert.rejects(identifyRuntime(join(directory, 'none')), (error: Error) => {
      return isKind(error, 'failed-precondition') && error.message.includes(join(directory, 'none'));
    });
  });
});

test('cpu.weight is on a straight line up to crun 1.22 and runc 1.2', () => {
  const linear = [
    ['crun', '1.8.1'],
    ['crun', '1.22'],
    ['runc', '1.1.5+ds1'],
    ['runc', '1.2.6'],
  ] as const;
  for (const [kind, version] of linear) assert.equal(hasLinearCpuWeight({ kind, version }), true, version);
  const others = [
    ['crun', '1.23'],
    ['runc', '1.3.0'],
    ['other', 'release-20260801.0'],
  ] as const;
  for (const [kind, version] of others) assert.equal(hasLinearCpuWeight({ kind, version }), false, version);
});

test('mounts below a bind mount are lost by crun up to 1.8', () => {
  const losing = ['1.8.1', '1.8.7', '1.9', '1.21'].filter((version) =>
    losesMountsBelow({ kind: 'crun', version }),
  );
  assert.deepEqual(losing, ['1.8.1', '1.8.7']);
  assert.equal(losesMountsBelow({ kind: 'runc', version: '1.1.5' }), false);
});
