import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, PodSandbox } from '../gen/runtime/v1/api.ts';
import { containerTargets, findAnyTarget, findTarget } from './names.ts';

const ready = 0;
const notReady = 1;
const running = 1;
const exited = 2;

function pod(
  id: string,
  name: string,
  more: Partial<PodSandbox> & { readonly namespace?: string } = {},
): PodSandbox {
  const { namespace = 'default', ...fields } = more;
  return {
    id: id.padEnd(64, '0'),
    metadata: { name, namespace, uid: id, attempt: 0 },
    state: ready,
    createdAt: 1n,
    labels: {},
    annotations: {},
    runtimeHandler: '',
    ...fields,
  };
}

function container(
  id: string,
  name: string,
  more: Partial<Container> & { readonly pod: PodSandbox },
): Container {
  const { pod: owner, ...fields } = more;
  return {
    id: id.padEnd(64, '0'),
    podSandboxId: owner.id,
    metadata: { name, attempt: 0 },
    image: undefined,
    imageRef: '',
    state: running,
    createdAt: 1n,
    labels: {},
    annotations: {},
    imageId: '',
    ...fields,
  };
}

test('a pod of one is found by one name, as a container and as a whole', () => {
  const pods = [pod('a1', 'web')];
  const containers = [container('b1', 'web', { pod: pods[0] as PodSandbox })];
  const targets = containerTargets(containers, pods);
  assert.equal(findTarget('container', targets, 'web').id, containers[0]?.id);
  assert.equal(findAnyTarget(pods, containers, 'web').kind, 'pod');
  assert.equal(findAnyTarget(pods, containers, 'b1').kind, 'container');
  assert.equal(findAnyTarget(pods, containers, 'web/web').kind, 'container');
});

test('of the attempts of one container the running one is meant, else the newest', () => {
  const owner = pod('a1', 'p');
  const old = container('b1', 'app', { pod: owner, state: exited, createdAt: 9n });
  const live = container('b2', 'app', { pod: owner, createdAt: 5n });
  const older = container('b3', 'app', { pod: owner, state: exited, createdAt: 1n });
  assert.equal(findTarget('container', containerTargets([old, live, older], [owner]), 'app').id, live.id);
  assert.equal(findTarget('container', containerTargets([older, old], [owner]), 'app').id, old.id);
});

test('of the attempts of one pod the ready one is meant', () => {
  const pods = [pod('a1', 'p', { state: notReady, createdAt: 9n }), pod('a2', 'p')];
  assert.equal(findAnyTarget(pods, [], 'p').id, pods[1]?.id);
});

test('a name of several is refused with a list of them', () => {
  const pods = [pod('a1', 'one'), pod('a2', 'two', { namespace: 'kube-system' })];
  const containers = pods.map((owner, index) => container(`b${index}`, 'app', { pod: owner }));
  assert.throws(() => findTarget('container', containerTargets(containers, pods), 'app'), {
    kind: 'invalid-argument',
    message:
      '"app" may be any of container b00000000000 (default/one/app), container b10000000000 (kube-system/two/app): give an id',
  });
  assert.equal(findTarget('container', containerTargets(containers, pods), 'two/app').id, containers[1]?.id);
  assert.equal(findAnyTarget(pods, containers, 'kube-system/two').id, pods[1]?.id);
});

test('the beginning of an id is enough when it is of one only', () => {
  const pods = [pod('abc1', 'x'), pod('abc2', 'y')];
  assert.equal(findAnyTarget(pods, [], 'abc2').id, pods[1]?.id);
  assert.throws(() => findAnyTarget(pods, [], 'abc'), { kind: 'invalid-argument' });
  assert.throws(() => findAnyTarget(pods, [], 'zzz'), {
    kind: 'not-found',
    message: 'no pod or container is called "zzz", by name or id',
  });
});
