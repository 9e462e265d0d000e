import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CdiSpec, checkCdiSpec, requestedCdiDevices, resolveCdi } from './cdi.ts';

const noDevice = async () => undefined;

function vendorFile(changes: object = {}, priority = 0): CdiSpec {
  const spec = {
    cdiVersion: '0.6.0',
    kind: 'vendor.com/gpu',
    containerEdits: { env: ['ALL=1'] },
    devices: [
      {
        name: '0',
        containerEdits: {
          env: ['GPU=0'],
          deviceNodes: [{ path: '/dev/gpu0', hostPath: '/dev/host-gpu0', permissions: 'rw' }],
          mounts: [{ hostPath: '/opt/gpu', containerPath: '/lib/gpu' }],
          hooks: [{ hookName: 'createContainer', path: '/bin/hook', args: ['hook'] }],
          additionalGids: [44],
        },
      },
      { name: '1', containerEdits: { env: ['GPU=1'], deviceNodes: [{ path: '/dev/pipe', type: 'p' }] } },
    ],
    ...changes,
  };
  return checkCdiSpec(spec, '/etc/cdi/vendor.json', priority);
}

test('CDI: a device’s edits and once those of its file', async () => {
  const lookedUp: string[] = [];
  const edits = await resolveCdi([vendorFile()], ['vendor.com/gpu=0', 'vendor.com/gpu=1'], async (path) => {
    lookedUp.push(path);
    return { type: 'c', path, major: 195, minor: 0, fileMode: 0o660, uid: 0, gid: 44 };
  });
  assert.deepEqual(lookedUp, ['/dev/host-gpu0']);
  assert.deepEqual(edits, {
    env: ['ALL=1', 'GPU=0', 'GPU=1'],
    devices: [
      {
        device: { type: 'c', path: '/dev/gpu0', major: 195, minor: 0, fileMode: 0o660, uid: 0, gid: 44 },
        permissions: 'rw',
        hostPath: '/dev/host-gpu0',
      },
      { device: { type: 'p', path: '/dev/pipe' }, permissions: 'rwm' },
    ],
    mounts: [
      {
        destination: '/lib/gpu',
        type: 'bind',
        source: '/opt/gpu',
        options: ['rbind', 'rprivate', 'ro', 'nosuid', 'nodev'],
      },
    ],
    hooks: { createContainer: [{ path: '/bin/hook', args: ['hook'] }] },
    additionalGids: [44],
  });
});

test('CDI: the later directory wins, two files of one directory contradict', async () => {
  const other = (priority: number) =>
    vendorFile(
      { containerEdits: {}, devices: [{ name: '0', containerEdits: { env: ['OTHER=1'] } }] },
      priority,
    );
  const edits = await resolveCdi([vendorFile(), other(1)], ['vendor.com/gpu=0'], noDevice);
  assert.deepEqual(edits.env, ['OTHER=1']);
  await assert.rejects(resolveCdi([vendorFile(), other(0)], ['vendor.com/gpu=0'], noDevice), {
    kind: 'failed-precondition',
    message: /vendor\.com\/gpu=0 is defined twice/,
  });
});

test('CDI: names come from the field and from annotations, without repeats', () => {
  const annotations = { 'cdi.k8s.io/plugin': 'a.b/c=2,a.b/c=1', other: 'a.b/c=3' };
  assert.deepEqual(requestedCdiDevices(['a.b/c=1'], annotations), ['a.b/c=1', 'a.b/c=2']);
});

test('CDI: says what is wrong', async () => {
  for (const name of ['gpu', 'a.b/c=', '=x', 'a.b=c', 'a.b/c=../x']) {
    assert.throws(() => requestedCdiDevices([name], {}), {
      kind: 'invalid-argument',
      message: /^CDI_devices: /,
    });
  }
  await assert.rejects(resolveCdi([vendorFile()], ['vendor.com/gpu=9'], noDevice), {
    kind: 'invalid-argument',
    message: /"vendor\.com\/gpu=9"/,
  });
  await assert.rejects(resolveCdi([vendorFile()], ['vendor.com/gpu=0'], noDevice), {
    kind: 'failed-precondition',
    message: /\/dev\/host-gpu0 is not a device/,
  });
  assert.throws(() => vendorFile({ kind: 'nothing' }), {
    message: /^CDI file \/etc\/cdi\/vendor\.json: kind: /,
  });
});
