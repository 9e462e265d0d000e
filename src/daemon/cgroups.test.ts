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
    assert.equal(await createEngineCgroups(host, 'cgroupfs').writeLimits('/pod/one', change), true);
    assert.equal(read('/pod/one', 'memory.max'), '2000');
    assert.equal(read('/pod/one', 'cpu.weight'), 'old');
  });

  test('a scope that systemd manages is left to the runtime, what it delegates is not', async () => {
    const cgroups = createEngineCgroups(host, 'systemd');
    const scope = '/a.slice/a-pod.slice/cri-gantry-one.scope';
    fill(scope);
    assert.equal(await cgroups.writeLimits('a-pod.slice:cri-gantry:one', change), false);
    assert.equal(cgroups.pathOf('a-pod.slice:cri-gantry:one'), scope);
    fill(`${scope}/container`);
    assert.equal(await cgroups.writeLimits('a-pod.slice:cri-gantry:one', change), true);
    assert.equal(cgroups.pathOf('a-pod.slice:cri-gantry:one'), `${scope}/container`);
    assert.equal(read(`${scope}/container`, 'memory.max'), '2000');
    assert.equal(read(scope, 'memory.max'), 'old');
  });

  test('on hosts with v1 controllers the runtime changes limits', async () => {
    const legacy: HostCgroups = {
      layout: 'legacy',
      mounts: new Map([['memory', root]]),
      unifiedRoot: undefined,
    };
    assert.equal(await createEngineCgroups(legacy, 'cgroupfs').writeLimits('/pod/one', change), false);
  });
});
