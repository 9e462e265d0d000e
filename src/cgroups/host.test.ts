import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  cgroupDirectories,
  cgroupOfProcess,
  controllerDirectory,
  defaultDriver,
  detectHostCgroups,
  type HostCgroups,
} from './host.ts';

function detect(lines: readonly string[]): HostCgroups {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-cgroups-'));
  try {
    const file = join(directory, 'mountinfo');
    writeFileSync(file, `${lines.join('\n')}\n`);
    return detectHostCgroups(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const cpu = '30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct';
const memory = '31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory';
const systemd = '32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd';
const second = '33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate';

test('cgroup2 alone is unified', () => {
  const host = detect([
    '25 1 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate',
    '26 1 0:5 / /dev rw - devtmpfs d rw',
  ]);
  assert.equal(host.layout, 'unified');
  assert.deepEqual(cgroupDirectories(host, '/a/b'), ['/sys/fs/cgroup/a/b']);
  assert.equal(controllerDirectory(host, 'memory', '/'), '/sys/fs/cgroup');
  assert.equal(defaultDriver(host, true), 'systemd');
  assert.equal(defaultDriver(host, false), 'cgroupfs');
});

test('v1 controllers with cgroup2 beside them are a hybrid', () => {
  const host = detect([cpu, memory, systemd, second]);
  assert.equal(host.layout, 'hybrid');
  assert.equal(controllerDirectory(host, 'cpuacct', '/x'), '/sys/fs/cgroup/cpu,cpuacct/x');
  assert.equal(controllerDirectory(host, 'pids', '/x'), undefined);
  assert.deepEqual(cgroupDirectories(host, '/x'), [
    '/sys/fs/cgroup/cpu,cpuacct/x',
    '/sys/fs/cgroup/memory/x',
    '/sys/fs/cgroup/systemd/x',
    '/sys/fs/cgroup/unified/x',
  ]);
  assert.equal(defaultDriver(host, true), 'cgroupfs');
});

test('v1 alone is legacy', () => {
  assert.equal(detect([cpu, memory]).layout, 'legacy');
});

test('the cgroup of this process is found, that of none is not', () => {
  const host = detectHostCgroups();
  assert.match(cgroupOfProcess(host, 'self') ?? '', /^\//);
  assert.equal(cgroupOfProcess(host, 2 ** 30), undefined);
});
