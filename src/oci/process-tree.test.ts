import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { processStartTicks } from '../linux/pidfd.ts';
import { killDescendants } from './process-tree.ts';

/** A process that runs this in bash, below which `read -t` waits without a child; `stop` kills its descendants. */
async function tree(script: string): Promise<{ readonly stop: () => Promise<void> }> {
  const root = spawn('bash', ['-c', script], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  const ended = once(root, 'exit');
  const pid = root.pid ?? 0;
  const startTicks = processStartTicks(pid);
  assert.ok(startTicks !== undefined);
  const stop = async (): Promise<void> => {
    await killDescendants({ pid, startTicks });
    await ended;
  };
  return { stop };
}

/** Processes that sleep for so long. */
function sleepers(seconds: string): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      const [name, argument] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return name === 'sleep' && argument === seconds;
    } catch {
      return false;
    }
  });
}

test('children are killed with those that lost their parents, and the root reports the end', async () => {
  const { stop } = await tree('sh -c "sleep 4101 & sleep 4101 & setsid -w sleep 4101" & wait');
  while (sleepers('4101').length < 3) await new Promise((resolve) => setImmediate(resolve));
  await stop();
  assert.deepEqual(sleepers('4101'), []);
});

test('what a slow runtime starts after the time is over is killed as well', async () => {
  const { stop } = await tree('read -t 0.2; setsid sh -c "sleep 4102 & sleep 4102" & read -t 20');
  await stop();
  assert.deepEqual(sleepers('4102'), []);
});

test('a runtime that stays without a child is killed, and starts none on its way out', async () => {
  const { stop } = await tree('while :; do read -t 0.003; setsid sleep 4103 & done');
  await stop();
  assert.deepEqual(sleepers('4103'), []);
});
