import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { GoneCgroupKills } from './gone-kills.ts';

let root: string;
let gone: GoneCgroupKills;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'gantry-gone-'));
  gone = new GoneCgroupKills({ layout: 'unified', root, controllers: ['memory'] });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const kills = (path: string, count: number): void => {
  mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, path, 'memory.events'), `oom 1\noom_kill ${count}\n`);
};
const remove = (path: string): void => rmSync(join(root, path), { recursive: true });

test('a kill that no present child explains was in the one that has gone', () => {
  kills('/pod', 2);
  gone.watch('/pod');
  kills('/pod/one', 0);
  kills('/pod/two', 0);
  remove('/pod/one');
  assert.equal(gone.takeNew('/pod'), false);
  kills('/pod', 3);
  remove('/pod/two');
  assert.equal(gone.takeNew('/pod'), true);
  assert.equal(gone.takeNew('/pod'), false);
});

test('a kill in a child that goes on, or that was read in time, is not taken for another’s', () => {
  kills('/pod', 0);
  gone.watch('/pod');
  kills('/pod/read', 1);
  kills('/pod/lives', 1);
  kills('/pod', 2);
  gone.explain('/pod', 1);
  remove('/pod/read');
  assert.equal(gone.takeNew('/pod'), false);
});

test('a parent that nobody watches, or that is gone, says nothing', () => {
  kills('/pod', 3);
  assert.equal(gone.takeNew('/pod'), false);
  gone.watch('/pod');
  remove('/pod');
  gone.watch('/other');
  assert.equal(gone.takeNew('/pod'), false);
});
