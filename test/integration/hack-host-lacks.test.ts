/** What hack/node-e2e forgives a spec: that it fails as it must here, not that it fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostLackOf } from '../../hack/lib/node-e2e/host-lacks.ts';

const name = '[sig-node] ImageID [Feature:ImageID] should be set to the manifest digest (from RepoDigests)';
const spec = { name, state: 'failed', seconds: 1 } as const;
const image = `registry.k8s.io/e2e-test-images/busybox@sha256:${'a'.repeat(64)}`;

test('a spec is forgiven what this host lacks', () => {
  const message = `ErrImagePull: rpc error: code = NotFound desc = manifest of ${image}\n   not found (HTTP 404)`;
  assert.match(hostLackOf({ ...spec, message }) ?? '', /there is no way out/);
});

test('the same spec is not forgiven another failure', () => {
  for (const message of ['', 'Timed out after 300 s', `${image}: unpack layer 0: no space left on device`])
    assert.equal(hostLackOf({ ...spec, message }), undefined, message);
});

test('a pod without swap in the Summary API is forgiven, a container without it is not', () => {
  const swap = {
    ...spec,
    name: '[sig-node] Swap [Serial] with swap stress LimitedSwap ensure summary API properly reports swap',
  };
  const missing = (of: string): string =>
    `Timed out after 180 s.\nto match fields: {\n.Pods[swap-qos-1::stress-pod-a].${of}:\n\tExpected\n\t    <*v1alpha1.SwapStats | 0x0>: nil\n`;
  assert.match(hostLackOf({ ...swap, message: missing('Swap') }) ?? '', /CRI has no swap of pods/);
  const both =
    missing('Containers[stress-container].Swap').replace('.Pods', `[.Pods`) + missing('Swap').split('{')[1];
  for (const message of [missing('Containers[stress-container].Swap'), both])
    assert.equal(hostLackOf({ ...swap, message }), undefined, message);
});
