import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPlainName } from './pod-of-one.ts';
import { nameOfImage, parsePort, parseVariable, parseVolume } from './run-options.ts';

test('ports', () => {
  const tcp = { hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' };
  assert.deepEqual(parsePort('8080:80'), tcp);
  assert.deepEqual(parsePort('8080:80/udp'), { ...tcp, protocol: 'udp' });
  assert.deepEqual(parsePort('127.0.0.1:8080:80'), { ...tcp, hostIp: '127.0.0.1' });
  assert.deepEqual(parsePort('[::1]:8080:80/sctp'), { ...tcp, hostIp: '::1', protocol: 'sctp' });
  for (const wrong of ['80', '0:80', '80:65536', '80:80/icmp', 'a:b', '80:80:80', '', ':80:80'])
    assert.throws(() => parsePort(wrong), /two ports from 1 to 65535/, wrong);
});

test('variables', () => {
  assert.deepEqual(parseVariable('A=b=c'), { name: 'A', value: 'b=c' });
  assert.deepEqual(parseVariable('A='), { name: 'A', value: '' });
  assert.deepEqual(parseVariable('A', { A: 'here' }), { name: 'A', value: 'here' });
  assert.throws(() => parseVariable('A', {}), /A is not set here/);
  assert.throws(() => parseVariable('=x'), /NAME=VALUE/);
});

test('volumes', () => {
  assert.deepEqual(parseVolume('/srv/../www:/w:ro'), {
    hostPath: '/www',
    containerPath: '/w',
    readonly: true,
  });
  assert.equal(parseVolume('/a:/b').readonly, false);
  for (const wrong of ['/a', 'a:/b', '/a:b', '/a:/b:rx', '/a:/b:ro:ro', ''])
    assert.throws(() => parseVolume(wrong), /two absolute paths/, wrong);
});

test('a name is made of the image’s', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['web', 'web-12345'],
    ['127.0.0.1:5000/demo/My_Web:1', 'my-web-12345'],
    [`docker.io/library/web:1@sha256:${'a'.repeat(64)}`, 'web-12345'],
    ['___', 'pod-12345'],
  ];
  for (const [image, expected] of cases) {
    assert.equal(nameOfImage(image, '12345'), expected);
    assert.ok(isPlainName(expected));
  }
});

test('a pod’s name is a directory’s: it leads nowhere else', () => {
  for (const wrong of ['..', '../x', 'a/b', '', '.', '-a', 'a-', 'A', 'a\n', 'a'.repeat(254)])
    assert.equal(isPlainName(wrong), false, JSON.stringify(wrong));
});
