import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import type { NamespaceChoice, PodConfig } from './pod-config.ts';
import { checkSysctls } from './sysctls.ts';

function pod(
  sysctls: Record<string, string>,
  network: NamespaceChoice['mode'] = 'pod',
  ipc: NamespaceChoice['mode'] = 'pod',
): PodConfig {
  const choice = (mode: NamespaceChoice['mode']): NamespaceChoice =>
    mode === 'target' ? { mode, targetId: 'x' } : { mode };
  return {
    metadata: { name: 'p', uid: 'u', namespace: 'n', attempt: 0 },
    portMappings: [],
    labels: {},
    annotations: {},
    sysctls,
    namespaces: { network: choice(network), pid: { mode: 'container' }, ipc: choice(ipc) },
    security: {
      readonlyRootfs: false,
      supplementalGroups: [],
      supplementalGroupsPolicy: 'merge',
      privileged: false,
    },
  };
}

test('what belongs to a namespace of the pod may be set', () => {
  checkSysctls(
    pod({
      'net.ipv4.ip_unprivileged_port_start': '0',
      'net/ipv4/tcp_syncookies': '1',
      'kernel.shm_rmid_forced': '1',
      'kernel.sem': '250\t32000\t32\t128',
      'fs.mqueue.msg_max': '20',
      'kernel.domainname': 'example',
    }),
  );
});

const refused: readonly [why: string, config: PodConfig, naming: RegExp][] = [
  ['CVE-2022-0811: core_pattern', pod({ 'kernel.core_pattern': '|/evil' }), /kernel\.core_pattern/],
  [
    'CVE-2022-0811: a second sysctl in the value',
    pod({ 'kernel.shmmax': '1\nkernel.core_pattern=|/evil' }),
    /several lines/,
  ],
  ['a path that climbs', pod({ 'net.ipv4.../../kernel/core_pattern': '1' }), /is not the name/],
  ['a sysctl of the node', pod({ 'vm.overcommit_memory': '1' }), /vm\.overcommit_memory/],
  ['the node’s network', pod({ 'net.ipv4.ip_forward': '1' }, 'node'), /network namespace/],
  ['the node’s IPC', pod({ 'kernel.shmmax': '1' }, 'pod', 'node'), /IPC namespace/],
  ['the node’s host name', pod({ 'kernel.hostname': 'x' }, 'node'), /UTS namespace/],
];

for (const [why, config, naming] of refused) {
  test(`refused: ${why}`, () => {
    assert.throws(
      () => checkSysctls(config),
      (error: Error) => isKind(error, 'invalid-argument') && naming.test(error.message),
    );
  });
}
