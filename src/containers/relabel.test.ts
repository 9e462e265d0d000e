import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PathWorkers } from '../linux/path-worker.ts';
import { enterPrivateMounts } from '../linux/private-mounts.ts';
import { mountTmpfs, unmount } from '../linux/mount.ts';
import { pathDirectory, close, openat } from '../linux/at.ts';
import { lgetxattr } from '../linux/file-status.ts';
import { relabelMounts, relabelRefusal } from './relabel.ts';
import { withMount } from './spec/testing/sample-input.ts';

const own = ['/var/lib/gantry', '/run/gantry'];
const label = 'system_u:object_r:container_file_t:s0';

for (const path of [
  '/',
  '/bin',
  '/boot/grub',
  '/dev/shm',
  '/etc',
  '/etc/hosts',
  '/etc/passwd',
  '/etc/resolv.conf',
  '/home',
  '/home/alice',
  '/lib64',
  '/proc/1',
  '/root',
  '/run',
  '/run/gantry/gantry.sock',
  '/run/systemd/system',
  '/sys/fs/cgroup',
  '/tmp',
  '/usr',
  '/usr/share/app',
  '/var',
  '/var/home/alice',
  '/var/lib',
  '/var/lib/gantry',
  '/var/lib/gantry/volumes/a',
  '/var/lib/kubelet',
  '/var/lib/kubelet/pki/key.pem',
  '/var/log',
  'relative',
  '/srv/../etc',
  '/..',
  '/srv//x',
  '/srv/x/',
]) {
  test(`CVE-2021-43816: ${path} keeps its label`, () => {
    assert.notEqual(relabelRefusal(path, own), undefined);
  });
}

for (const path of [
  '/data',
  '/etcd-data',
  '/home/alice/site',
  '/mnt/disk',
  '/opt/app/data',
  '/srv/www',
  '/var/lib/app',
  '/var/lib/gantry-data',
  '/var/lib/kubelet/pods/f0e1/etc-hosts',
  '/var/lib/kubelet/pods/f0e1/volumes/kubernetes.io~empty-dir/cache',
]) {
  test(`${path} may be labelled`, () => assert.equal(relabelRefusal(path, own), undefined));
}

test('the mounts that ask for it are labelled, and none if one of them may not be', async () => {
  enterPrivateMounts();
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-relabel-')));
  mountTmpfs({ target: base });
  await using paths = new PathWorkers();
  const labelOf = (name: string): string | undefined => {
    const fd = openat(-100, base, pathDirectory, 0);
    try {
      return lgetxattr(fd, name, 'security.selinux')?.toString().replace(/\0$/, '');
    } finally {
      close(fd);
    }
  };
  try {
    for (const name of ['wanted', 'other']) mkdirSync(join(base, name));
    const mountOf = (source: string, selinuxRelabel: boolean) =>
      withMount({ hostPath: source, selinuxRelabel }).mounts;
    const both = [...mountOf(join(base, 'wanted'), true), ...mountOf(join(base, 'other'), false)];
    const { signal } = new AbortController();
    const deps = { paths, ownDirectories: own };
    await assert.rejects(relabelMounts(deps, [...both, ...mountOf('/etc/hosts', true)], label, signal), {
      kind: 'invalid-argument',
      message: /^mounts\[2\]\.selinux_relabel: .*\/etc\/hosts/,
    });
    assert.equal(labelOf('wanted'), undefined);
    await relabelMounts(deps, both, label, signal);
    assert.equal(labelOf('wanted'), label);
    assert.equal(labelOf('other'), undefined);
  } finally {
    unmount(base, { lazy: true });
    rmSync(base, { recursive: true });
  }
});
