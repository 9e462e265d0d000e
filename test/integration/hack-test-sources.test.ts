import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sourcesOf } from '../../hack/lib/test-sources.ts';

test('the programs that a test needs are found also where a file that it imports names them', () => {
  for (const [file, variable] of [
    ['test/e2e/nri.test.ts', 'GANTRY_NRI_PLUGIN'],
    ['test/e2e/restore.test.ts', 'GANTRY_CRIU'],
    ['test/e2e/kubelet-checkpoint.test.ts', 'GANTRY_AGNHOST'],
  ] as const)
    assert.ok(sourcesOf(file).includes(variable), `${file} ${variable}`);
});
