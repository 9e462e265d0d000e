import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { containerCgroup, expandSlice, parentPath, podCgroupParent } from './paths.ts';

test('slices are expanded as systemd nests them', () => {
  assert.equal(expandSlice('a-b-c.slice'), '/a.slice/a-b.slice/a-b-c.slice');
  assert.equal(expandSlice('kubepods.slice'), '/kubepods.slice');
  assert.equal(expandSlice('-.slice'), '');
});

test('cgroupfs: the container is a directory below the parent', () => {
  const found = containerCgroup('cgroupfs', '/kubepods/burstable/pod1', 'c1');
  assert.deepEqual(found, {
    cgroupsPath: '/kubepods/burstable/pod1/c1',
    path: '/kubepods/burstable/pod1/c1',
  });
  assert.equal(containerCgroup('cgroupfs', '/', 'c1').path, '/c1');
  assert.equal(containerCgroup('cgroupfs', 'kubepods/', 'c1').path, '/kubepods/c1');
});

test('systemd: slice, prefix and name, from a name or the whole path that the kubelet sends', () => {
  const wanted = {
    cgroupsPath: 'kubepods-besteffort-pod1_2.slice:cri-gantry:c1',
    path: '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-gantry-c1.scope',
  };
  assert.deepEqual(containerCgroup('systemd', 'kubepods-besteffort-pod1_2.slice', 'c1'), wanted);
  const path = '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice';
  assert.deepEqual(containerCgroup('systemd', path, 'c1'), wanted);
  assert.equal(parentPath('systemd', path), path);
});

test('a driver mismatch is refused and says so (kubernetes#106464, kubernetes#107892, containerd#4857)', () => {
  for (const parent of ['/kubepods/pod1', 'a--b.slice', '-a.slice', 'a:b.slice']) {
    assert.throws(
      () => containerCgroup('systemd', parent, 'c1'),
      (error) => isKind(error, 'invalid-argument'),
      parent,
    );
  }
  assert.throws(() => containerCgroup('systemd', '/kubepods/pod1', 'c1'), /driver is systemd/);
  assert.throws(() => containerCgroup('cgroupfs', 'system.slice:cri:x', 'c1'), /driver is cgroupfs/);
  assert.throws(() => containerCgroup('cgroupfs', '/a/../b', 'c1'), /\.\./);
});

test('a pod without a parent gets one of ours', () => {
  assert.deepEqual(podCgroupParent('cgroupfs', undefined, 's1'), { parent: '/gantry/s1', isOwn: true });
  assert.deepEqual(podCgroupParent('systemd', undefined, 's1'), {
    parent: 'gantry-pods1.slice',
    isOwn: true,
  });
  assert.deepEqual(podCgroupParent('cgroupfs', '/kubepods', 's1'), { parent: '/kubepods', isOwn: false });
});
