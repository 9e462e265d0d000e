import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { HostCgroups } from '../cgroups/host.ts';
import { createEngineCgroups } from './cgroups.ts';

describe('limits of a container on cgroup v2', () => {
  let root: string;
  let host: HostCgroups;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'gantry-cgroups-'));
    host = { layout: 'unified', root, controllers: ['cpu', 'memory'] };
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** A directory that stands for a cgroup. */
  const fill = (path: string): void => {
    mkdirSync(join(root, path), { recursive: true });
    for (const file of ['memory.max', 'cpu.weight']) writeFileSync(join(root, path, file), 'old');
  };
  const read = (path: string, file: string): string => readFileSync(join(root, path, file), 'utf8');
  const change = {
    before: { cpu: { shares: 512 }, memory: { limit: 1000 } },
    after: { cpu: { shares: 512 }, memory: { limit: 2000 } },
  };

  test('only what changes is written', async () => {
    fill('/pod/one');
    const undo = await createEngineCgroups(host, 'cgroupfs').writeLimits('/pod/one', change);
    assert.equal(read('/pod/one', 'memory.max'), '2000');
    assert.equal(read('/pod/one', 'cpu.weight'), 'old');
    writeFileSync(join(root, '/pod/one/memory.max'), 'new');
    await undo?.();
    assert.equal(read('/pod/one', 'memory.max'), 'old');
  });

  test('a scope that systemd manages is left to the runtime, what it delegates is not', async () => {
    const cgroups = createEngineCgroups(host, 'systemd');
    const scope = '/a.slice/a-pod.slice/cri-gantry-one.scope';
    fill(scope);
    assert.equal(await cgroups.writeLimits('a-pod.slice:cri-gantry:one', change), undefined);
    assert.equal(cgroups.pathOf('a-pod.slice:cri-gantry:one'), scope);
    fill(`${scope}/container`);
    assert.ok(await cgroups.writeLimits('a-pod.slice:cri-gantry:one', change));
    assert.equal(cgroups.pathOf('a-pod.slice:cri-gantry:one'), `${scope}/container`);
    assert.equal(read(`${scope}/container`, 'memory.max'), '2000');
    assert.equal(read(scope, 'memory.max'), 'old');
  });

  test('what a runtime may change is put back: of the scope, and of what is below it', async () => {
    const cgroups = createEngineCgroups(host, 'systemd');
    const scope = '/a.slice/a-pod.slice/cri-gantry-one.scope';
    const places = [scope, `${scope}/container`];
    for (const place of places) fill(place);
    const after = { ...change.after, unified: { 'misc.max': 'b 2' } };
    writeFileSync(join(root, scope, 'misc.max'), 'a 1');
    const undo = cgroups.keepLimits('a-pod.slice:cri-gantry:one', { ...change, after });
    for (const place of places) writeFileSync(join(root, place, 'cpu.weight'), 'new');
    writeFileSync(join(root, scope, 'misc.max'), 'b 2');
    await undo();
    for (const place of places) assert.equal(read(place, 'cpu.weight'), 'old');
    assert.equal(read(scope, 'misc.max'), 'a 1');
  });

  test('on hosts with v1 controllers the runtime changes limits', async () => {
    const legacy: HostCgroups = {
      layout: 'legacy',
      mounts: new Map([['memory', root]]),
      unifiedRoot: undefined,
    };
    assert.equal(await createEngineCgroups(legacy, 'cgroupfs').writeLimits('/pod/one', change), undefined);
  });
});
