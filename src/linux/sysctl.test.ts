import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../lib/errors.ts';
import { parseSysctl } from './sysctl.ts';

test('both ways to write a name lead to the same file and namespace', () => {
  for (const [name, path, kind] of [
    ['net.ipv4.ip_forward', '/proc/sys/net/ipv4/ip_forward', 'net'],
    ['net/ipv4/ip_forward', '/proc/sys/net/ipv4/ip_forward', 'net'],
    ['net/ipv4/conf/eth0.100/forwarding', '/proc/sys/net/ipv4/conf/eth0.100/forwarding', 'net'],
    ['net.ipv4.conf.eth0/100.forwarding', '/proc/sys/net/ipv4/conf/eth0.100/forwarding', 'net'],
    ['kernel.shmmax', '/proc/sys/kernel/shmmax', 'ipc'],
    ['kernel.shm_rmid_forced', '/proc/sys/kernel/shm_rmid_forced', 'ipc'],
    ['kernel.sem', '/proc/sys/kernel/sem', 'ipc'],
    ['fs.mqueue.msg_max', '/proc/sys/fs/mqueue/msg_max', 'ipc'],
    ['kernel.domainname', '/proc/sys/kernel/domainname', 'uts'],
  ] as const) {
    const sysctl = parseSysctl(name, '1');
    assert.deepEqual([sysctl.path, sysctl.kind], [path, kind], name);
  }
});

test('CVE-2022-0811: what is not a name, not a value or not of a namespace is refused', () => {
  for (const [name, value] of [
    ['kernel.core_pattern', '|/bin/evil'],
    ['kernel.shm_rmid_forced', '1\nkernel.core_pattern=|/bin/evil'],
    ['kernel.shm_rmid_forced+kernel.core_pattern', '1'],
    ['net.ipv4.ip_forward', '1\0'],
    ['net.ipv4/../../../kernel/core_pattern', '1'],
    ['net/../kernel/core_pattern', '1'],
    ['net/ipv4/./ip_forward', '1'],
    ['net..ipv4', '1'],
    ['/proc/sys/net/ipv4/ip_forward', '1'],
    ['net.ipv4.ip forward', '1'],
    ['net.', '1'],
    ['', '1'],
    ['net.ipv4.IP_FORWARD', '1'],
    ['kernel.shmoo/../core_pattern', '1'],
    ['vm.swappiness', '1'],
    ['kernel.msgmax', 'x'.repeat(5000)],
  ] as const) {
    assert.throws(
      () => parseSysctl(name, value),
      (error) => isKind(error, 'invalid-argument'),
      `${name}=${value}`,
    );
  }
});
