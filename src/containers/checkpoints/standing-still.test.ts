import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { StandingStill } from './standing-still.ts';

test('its end is told to the works and waits for them, those that fail too, and a failure is told to who began it', async () => {
  const standingStill = new StandingStill();
  const gate = Promise.withResolvers<void>();
  const said: string[] = [];
  const failing = assert.rejects(
    standingStill.during(async () => {
      await gate.promise;
      said.push('thawed');
      throw new Error('no space');
    }),
    /no space/,
  );
  const ended = standingStill[Symbol.asyncDispose]().then(() => said.push('ended'));
  await setImmediate();
  assert.deepEqual(said, []);
  assert.match(String(standingStill.ending.reason), /the daemon stops/);
  gate.resolve();
  await Promise.all([failing, ended]);
  assert.deepEqual(said, ['thawed', 'ended']);
});
