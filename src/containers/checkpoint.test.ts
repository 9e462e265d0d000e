import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { newContainerId } from '../lib/ids.ts';
import { KeyedLock } from '../lib/keyed-lock.ts';
import { StandingStill } from './checkpoints/standing-still.ts';
import { checkpointContainer } from './checkpoint.ts';
import type { ContainerDeps } from './deps.ts';

test('what is written beside the wanted file is named to the next daemon for as long as it is there', async (t) => {
  const base = mkdtempSync(join(tmpdir(), 'gantry-checkpoint-'));
  t.after(() => rmSync(base, { recursive: true }));
  const place = join(base, 'theirs');
  mkdirSync(place);
  const id = newContainerId();
  const named = (): string => readFileSync(join(base, 'work', `writing-${id}`, 'part'), 'utf8');
  const container = { id, sandboxId: 'pod', runtimeHandler: '', state: { name: 'running' } };
  const deps = {
    store: { locks: new KeyedLock(), mustFind: () => container },
    sandboxes: { get: () => undefined },
    checkpoints: {
      directory: join(base, 'work'),
      standingStill: new StandingStill(),
      whyNot: async () => undefined,
      pause: async () => {
        assert.deepEqual(
          readdirSync(place).map((name) => join(place, name)),
          [named()],
        );
        throw new Error('it cannot be frozen');
      },
      resume: async () => undefined,
    },
  };
  const removed: string[] = [];
  const { unlink } = files;
  const mocked = t.mock.method(files, 'unlink', async (path: string) => {
    removed.push(named());
    await unlink(path);
  });
  syncBuiltinESMExports();
  try {
    const request = { id, location: join(place, 'a.tar'), timeoutMs: 0 };
    const { signal } = new AbortController();
    await assert.rejects(
      checkpointContainer(deps as unknown as ContainerDeps, request, signal),
      /it cannot be frozen/,
    );
  } finally {
    mocked.mock.restore();
    syncBuiltinESMExports();
  }
  assert.equal(removed.length, 1);
  assert.deepEqual([readdirSync(place), readdirSync(join(base, 'work'))], [[], []]);
});
