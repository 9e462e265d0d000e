import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podArgs, podCapabilityArgs } from './attachment-args.ts';

const request = {
  sandboxId: 'a'.repeat(64),
  netnsPath: '/run/ns',
  pod: { name: 'web', namespace: 'default', uid: 'u1' },
  portMappings: [],
};

test('the plugins are told the pod as every Kubernetes runtime tells it', () => {
  assert.deepEqual(podArgs(request), {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: 'default',
    K8S_POD_NAME: 'web',
    K8S_POD_INFRA_CONTAINER_ID: request.sandboxId,
    K8S_POD_UID: 'u1',
  });
  assert.throws(
    () => podArgs({ ...request, pod: { ...request.pod, name: 'a;IP=10.0.0.1' } }),
    /K8S_POD_NAME/,
  );
});

test('only ports with a host port are published', () => {
  const portMappings = [
    { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '127.0.0.1' },
    { protocol: 'udp', containerPort: 53, hostPort: 53, hostIp: '' },
    { protocol: 'tcp', containerPort: 81 },
    { protocol: 'tcp', containerPort: 82, hostPort: 0 },
  ] as const;
  assert.deepEqual(podCapabilityArgs({ ...request, portMappings }), {
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
      { hostPort: 53, containerPort: 53, protocol: 'udp' },
    ],
  });
  assert.deepEqual(podCapabilityArgs(request), {});
  const tooHigh = [{ protocol: 'tcp', containerPort: 80, hostPort: 70_000 }] as const;
  assert.throws(() => podCapabilityArgs({ ...request, portMappings: tooHigh }), {
    kind: 'invalid-argument',
    message: /port 70000/,
  });
});

test('bandwidth comes from the annotations, in bits', () => {
  const bandwidth = (annotations: Record<string, string>) =>
    podCapabilityArgs({ ...request, annotations })['bandwidth'];
  const burst = 2147483647;
  assert.deepEqual(
    bandwidth({ 'kubernetes.io/ingress-bandwidth': '1.5M', 'kubernetes.io/egress-bandwidth': '2Ki' }),
    {
      ingressRate: 1_500_000,
      ingressBurst: burst,
      egressRate: 2048,
      egressBurst: burst,
    },
  );
  assert.equal(bandwidth({ other: 'x' }), undefined);
  for (const text of ['10', 'fast', '-1M', '10P', '']) {
    assert.throws(
      () => bandwidth({ 'kubernetes.io/egress-bandwidth': text }),
      { kind: 'invalid-argument', message: /egress-bandwidth/ },
      text,
    );
  }
});
