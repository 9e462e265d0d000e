import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerDeps } from '../../containers/deps.ts';
import { ContainerUpdate } from '../../gen/nri/v1alpha1/api.ts';
import { createLog } from '../../telemetry/log.ts';
import { applyChanges } from './apply-changes.ts';

test('updates that fail at once let everybody else have a turn between them', async () => {
  const updates = Array.from({ length: 50 }, (_, at) =>
    ContainerUpdate.fromPartial({
      containerId: 'none',
      linux: { resources: { cpu: { shares: { value: 10n } } } },
      ignoreFailure: at % 2 === 0,
    }),
  );
  let turns = 0;
  let others = setImmediate(function next() {
    turns += 1;
    others = setImmediate(next);
  });
  const failed = await applyChanges({} as ContainerDeps, createLog('error'), { updates, evictions: [] });
  clearImmediate(others);
  assert.equal(failed.length, 25, 'a plugin is told of what it minds');
  assert.ok(turns >= updates.length - 1, `${turns} turns`);
});
