import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import type { IdMapping, PodConfig, UserNamespace } from './pod-config.ts';
import { checkUserNamespace, podIds } from './user-namespace.ts';

const ids: IdMapping = { containerId: 0, hostId: 65_536, length: 65_536 };

function pod(user: UserNamespace | undefined, pid: 'pod' | 'node' = 'pod', ipc: 'pod' | 'node' = 'pod') {
  const namespaces = { network: { mode: 'pod' }, pid: { mode: pid }, ipc: { mode: ipc }, user };
  return { namespaces } as PodConfig;
}

function own(uids: readonly IdMapping[], gids: readonly IdMapping[] = uids): PodConfig {
  return pod({ mode: 'pod', uids, gids });
}

test('a pod may have one mapping from root on, the node’s user namespace, or nothing said', () => {
  for (const config of [pod(undefined), pod({ mode: 'node', uids: [], gids: [] }), own([ids])])
    checkUserNamespace(config);
  assert.deepEqual(podIds(own([ids])), ids);
  assert.equal(podIds(pod({ mode: 'node', uids: [], gids: [] })), undefined);
  assert.equal(podIds(pod(undefined)), undefined);
});

const refused: readonly [why: string, config: PodConfig, naming: RegExp][] = [
  ['two mappings', own([ids, { ...ids, containerId: 65_536, hostId: 200_000 }]), /one mapping/],
  ['no mapping', own([]), /one mapping/],
  ['none for groups', own([ids], []), /one mapping/],
  ['different ones', own([ids], [{ ...ids, hostId: 131_072 }]), /differ/],
  ['root not mapped', own([{ ...ids, containerId: 1 }]), /id 0/],
  ['no ids', own([{ ...ids, length: 0 }]), /no range/],
  ['the node’s root', own([{ ...ids, hostId: 0 }]), /root of the node/],
  ['beyond the last id', own([{ ...ids, hostId: 2 ** 32 - 65_536 }]), /no range/],
  ['the node’s with mappings', pod({ mode: 'node', uids: [ids], gids: [ids] }), /node’s/],
  ['the node’s processes', pod({ mode: 'pod', uids: [ids], gids: [ids] }, 'node'), /PID/],
  ['the node’s IPC', pod({ mode: 'pod', uids: [ids], gids: [ids] }, 'pod', 'node'), /IPC/],
];

for (const [why, config, naming] of refused) {
  test(`refused: ${why}`, () => {
    assert.throws(
      () => checkUserNamespace(config),
      (error: Error) => isKind(error, 'invalid-argument') && naming.test(error.message),
    );
  });
}
