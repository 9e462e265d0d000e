import assert from 'node:assert/strict';
import {
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as at from './at.ts';
import { fstatat, lgetxattr, llistxattr, lsetxattr } from './file-status.ts';
import { readFileInRoot } from './read-in-root.ts';

const base = realpathSync(mkdtempSync(join(tmpdir(), 'gantry-at-')));
const root = join(base, 'root');
mkdirSync(join(root, 'etc'), { recursive: true });
writeFileSync(join(base, 'secret'), 'host');
writeFileSync(join(root, 'etc', 'passwd'), 'root:x:0:0\n');
const rootFd = openSync(root, at.pathDirectory);
after(() => {
  at.close(rootFd);
  rmSync(base, { recursive: true });
});

const openFlags = constants.O_RDONLY;

test('openInRoot: absolute paths, symlinks and .. stay inside', () => {
  symlinkSync(join(base, 'secret'), join(root, 'absolute'));
  symlinkSync('../../secret', join(root, 'etc', 'relative'));
  symlinkSync('/etc', join(root, 'inside'));
  for (const path of ['absolute', 'etc/relative', '../secret']) {
    assert.throws(() => at.openInRoot(rootFd, path, openFlags), { code: 'ENOENT' });
  }
  const fd = at.openInRoot(rootFd, '/inside/passwd', openFlags);
  assert.equal(readFileSync(fd, 'utf8'), 'root:x:0:0\n');
  at.close(fd);
});

test('openBeneath: what would leave is refused', () => {
  symlinkSync('etc/passwd', join(root, 'fine'));
  at.close(at.openBeneath(rootFd, 'fine', openFlags));
  for (const path of ['/etc/passwd', '../secret', 'etc/relative', 'inside/passwd']) {
    assert.throws(() => at.openBeneath(rootFd, path, openFlags), { code: 'EXDEV' });
  }
});

test('magic links are not followed: /proc/self/fd in a root is no way out', () => {
  const procRoot = openSync('/', at.pathDirectory);
  assert.throws(() => at.openInRoot(procRoot, 'proc/self/fd/0', openFlags), { code: 'ELOOP' });
  at.close(procRoot);
});

test('files of every kind are made, owned and dated without their names being followed', () => {
  at.mkdirat(rootFd, 'made', 0o755);
  const dirFd = at.openat(rootFd, 'made', at.readDirectory, 0);
  const fd = at.openat(dirFd, 'file', constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  writeSync(fd, 'abc');
  at.fchown(fd, 12, 34);
  at.fchmod(fd, 0o6711);
  at.ftruncate(fd, 1_000_000);
  at.futimens(fd, { seconds: -5, nanoseconds: 250_000_000 });
  at.syncfs(fd);
  at.close(fd);
  const status = fstatat(dirFd, 'file');
  assert.deepEqual(
    [status?.mode, status?.uid, status?.gid, status?.sizeBytes, status?.mtimeSeconds],
    [0o106711, 12, 34, 1_000_000, -5],
  );
  assert.equal(lstatSync(join(root, 'made/file')).mode, 0o106711);

  at.symlinkat('/nowhere', dirFd, 'link');
  at.fchownat(dirFd, 'link', 7, 8);
  at.utimensat(dirFd, 'link', { seconds: 1000, nanoseconds: 0 });
  assert.equal(readlinkSync(join(root, 'made/link')), '/nowhere');
  assert.equal(at.readlinkat(dirFd, 'link').toString(), '/nowhere');
  assert.equal(lstatSync(join(root, 'made/link')).uid, 7);

  at.linkat({ dirFd, name: 'link' }, { dirFd: rootFd, name: 'hard' });
  assert.equal(lstatSync(join(root, 'hard')).nlink, 2);
  at.mknodat(dirFd, 'device', constants.S_IFCHR | 0o600, { major: 1, minor: 300 });
  assert.deepEqual([fstatat(dirFd, 'device')?.deviceMajor, fstatat(dirFd, 'device')?.deviceMinor], [1, 300]);
  at.fchmodat(dirFd, 'device', 0o640);
  at.renameat({ dirFd, name: 'device' }, { dirFd: rootFd, name: 'moved' });
  assert.equal(lstatSync(join(root, 'moved')).mode & 0o7777, 0o640);
  for (const name of ['file', 'link']) at.unlinkat(dirFd, name, 0);
  at.unlinkat(rootFd, 'made', at.AT_REMOVEDIR);
  assert.equal(fstatat(rootFd, 'made'), undefined);
  at.close(dirFd);
});

test('names are bytes: one that is not UTF-8', () => {
  const name = Buffer.from('caf\xe9\0', 'latin1');
  at.mkdirat(rootFd, name, 0o700);
  lsetxattr(rootFd, name, 'user.note', Buffer.from('v'));
  assert.ok(statSync(Buffer.concat([Buffer.from(`${root}/`), name.subarray(0, -1)])).isDirectory());
  assert.equal(lgetxattr(rootFd, name, 'user.note')?.toString(), 'v');
  at.unlinkat(rootFd, name, at.AT_REMOVEDIR);
});

test('attributes are those of the name itself', () => {
  at.mkdirat(rootFd, 'attributed', 0o700);
  lsetxattr(rootFd, 'attributed', 'trusted.overlay.opaque', Buffer.from('y'));
  at.symlinkat('attributed', rootFd, 'to-attributed');
  assert.deepEqual(llistxattr(rootFd, 'attributed'), ['trusted.overlay.opaque']);
  assert.equal(lgetxattr(rootFd, 'to-attributed', 'trusted.overlay.opaque'), undefined);
  assert.equal(lgetxattr(rootFd, 'attributed', 'user.none'), undefined);
});

test('errors name the call, the errno and the path', () => {
  assert.throws(() => at.openInRoot(rootFd, 'absent', openFlags), {
    name: 'SyscallError',
    syscall: 'openat2',
    code: 'ENOENT',
    path: 'absent',
  });
});

test('CVE-2024-9676, CVE-2026-47262: a file of an untrusted root neither blocks, nor leads out, nor grows', () => {
  assert.equal(readFileInRoot(root, '/etc/passwd', 1024)?.toString(), 'root:x:0:0\n');
  assert.equal(readFileInRoot(root, 'etc/absent', 1024), undefined);
  assert.equal(readFileInRoot(root, 'absolute', 1024), undefined);
  assert.equal(readFileInRoot(root, 'etc/passwd/below', 1024), undefined);
  at.mknodat(rootFd, 'fifo', constants.S_IFIFO | 0o600, { major: 0, minor: 0 });
  at.mknodat(rootFd, 'zero', constants.S_IFCHR | 0o600, { major: 1, minor: 5 });
  for (const path of ['fifo', 'zero', 'etc']) {
    assert.throws(() => readFileInRoot(root, path, 1024), {
      kind: 'invalid-argument',
      message: /not a regular file/,
    });
  }
  writeFileSync(join(root, 'long'), Buffer.alloc(1025));
  assert.throws(() => readFileInRoot(root, 'long', 1024), {
    kind: 'invalid-argument',
    message: /over 1024 bytes/,
  });
  assert.equal(readFileInRoot(root, 'long', 1025)?.length, 1025);
  assert.ok((readFileInRoot('/proc/self', 'mountinfo', 1 << 20)?.length ?? 0) > 0);
});
