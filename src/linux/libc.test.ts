import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { errnoName, errnoNumber, SyscallError } from './errors.ts';
import { addressOf, bind, bindUnchecked, lastErrno } from './libc.ts';

const open = bind<[path: string, flags: number]>('int open(const char *path, int flags)', {
  pathArgument: 0,
});

describe('bind', () => {
  test('a failure carries call, errno, its name and the path', () => {
    assert.throws(
      () => open('/no/such/file', 0),
      (error) => {
        assert.ok(error instanceof SyscallError);
        const { code, errno, syscall, path } = error;
        assert.deepEqual([code, errno, syscall, path], ['ENOENT', 2, 'open', '/no/such/file']);
        assert.equal(error.message, 'open "/no/such/file": no such file or directory (ENOENT)');
        return true;
      },
    );
  });

  test('a call made by way of another is told by its own name', () => {
    const pidfdOpen = bind<[call: number, pid: number, flags: number]>('long syscall(long n, int a, int b)', {
      name: 'pidfd_open',
    });
    assert.throws(() => pidfdOpen(434, -1, 0), { syscall: 'pidfd_open', code: 'EINVAL' });
  });

  test('a string with a zero byte never reaches C, which would see only its beginning', () => {
    assert.throws(() => open('/etc/passwd\0.txt', 0), { kind: 'invalid-argument' });
  });

  test('a function that does not exist is found out at the first call, not before', () => {
    const missing = bind('int gantry_no_such_function(void)');
    assert.throws(() => missing(), /gantry_no_such_function/);
  });

  test('the bare result and errno, and addresses inside a buffer', () => {
    const closeUnchecked = bindUnchecked<[fd: number]>('int close(int fd)');
    assert.equal(closeUnchecked(-1), -1);
    assert.equal(errnoName(lastErrno()), 'EBADF');
    const buffer = Buffer.alloc(16);
    assert.equal(addressOf(buffer.subarray(5)) - addressOf(buffer), 5n);
  });
});

test('errno names both ways, also where Node has none or two share a number', () => {
  assert.equal(errnoName(11), 'EAGAIN');
  assert.equal(errnoName(117), 'EUCLEAN');
  assert.equal(errnoName(524), 'E524');
  assert.equal(errnoNumber('ENOTSUP'), 95);
  assert.equal(errnoNumber('EOPNOTSUPP'), 95);
  assert.equal(
    new SyscallError('sendto', 17, { path: 'veth0', detail: 'name in use' }).message,
    'sendto "veth0": name in use (EEXIST)',
  );
});
