import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { moveExpecter } from './expect-moves.ts';
import { detectHostCgroups } from './host.ts';

test('expecting moves moves nobody, however often it is said', async () => {
  const before = readFileSync('/proc/self/cgroup', 'utf8');
  const expectMoves = moveExpecter(detectHostCgroups());
  for (let round = 0; round < 5; round += 1) {
    expectMoves();
    expectMoves();
    await sleep(20);
    assert.equal(readFileSync('/proc/self/cgroup', 'utf8'), before);
  }
});

test('a host without cgroups of memory is left alone', () => {
  moveExpecter({ layout: 'legacy', mounts: new Map([['pids', '/nonexistent']]), unifiedRoot: undefined })();
});
