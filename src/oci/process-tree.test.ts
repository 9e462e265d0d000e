import assert from 'node:assert/strict';
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ChildPipes } from '../linux/child-pipes.ts';
import { spawnProcess } from '../linux/command.ts';
import { Poller } from '../linux/poll.ts';
import { killDescendants } from './process-tree.ts';

/** A process that runs this in bash, where `read -t` waits without a child; `stop` kills its descendants. */
function start(stack: AsyncDisposableStack, script: string): { readonly stop: () => Promise<void> } {
  const poller = stack.use(new Poller());
  using pipes = new ChildPipes();
  const input = pipes.input(0);
  stack.defer(() => closeSync(input));
  const environment = { PATH: process.env['PATH'] ?? '' };
  const root = spawnProcess(['bash', '-c', script], {
    fds: pipes.fds,
    env: environment,
    newSession: true,
    poller,
  });
  pipes.handOver();
  const stop = async (): Promise<void> => {
    await killDescendants(root);
    await root.exited;
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
  await using stack = new AsyncDisposableStack();
  const { stop } = start(stack, 'sh -c "sleep 4101 & sleep 4101 & setsid -w sleep 4101" & wait');
  while (sleepers('4101').length < 3) await new Promise((resolve) => setImmediate(resolve));
  await stop();
  assert.deepEqual(sleepers('4101'), []);
});

test('what a slow runtime starts after the time is over is killed as well', async () => {
  await using stack = new AsyncDisposableStack();
  const { stop } = start(stack, 'read -t 0.2; setsid sh -c "sleep 4102 & sleep 4102" & read -t 20');
  await stop();
  assert.deepEqual(sleepers('4102'), []);
});

test('a runtime that stays without a child is killed, and starts none on its way out', async () => {
  await using stack = new AsyncDisposableStack();
  const { stop } = start(stack, 'while :; do read -t 0.003; setsid sleep 4103 & done');
  await stop();
  assert.deepEqual(sleepers('4103'), []);
});
