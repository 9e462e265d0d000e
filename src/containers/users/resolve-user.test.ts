import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readFileInRoot } from '../../linux/read-in-root.ts';
import type { ContainerSecurity } from '../container-config.ts';
import { sampleSecurity } from '../spec/testing/sample-input.ts';
import { parseUserReference } from './parse-user.ts';
import { resolveUser } from './resolve-user.ts';

const passwd = `root:x:0:0:root:/root:/bin/sh
# comment:x:1:1::/:
app:x:1000:1001:App:/home/app:/bin/sh
broken:x:99999999999:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
2147483648:x:0:0:trap:/root:/bin/sh
evil:x:1002:1002::/home/\u001bevil:/bin/sh
short:x
`;
const group = `root:x:0:
app:x:1001:app
extra:x:2000:other,app
media:x:3000:app
bad:x:4294967296:app
staff:x:50:
`;

function withRootfs(files: Readonly<Record<string, string>>, run: (rootfs: string) => void): void {
  const rootfs = mkdtempSync(join(tmpdir(), 'gantry-users-'));
  try {
    mkdirSync(join(rootfs, 'etc'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(rootfs, name), text);
    run(rootfs);
  } finally {
    rmSync(rootfs, { recursive: true });
  }
}

function resolve(imageUser: string, security: Partial<ContainerSecurity> = {}) {
  let result: ReturnType<typeof resolveUser> | undefined;
  withRootfs({ 'etc/passwd': passwd, 'etc/group': group }, (rootfs) => {
    result = resolveUser(
      { readFileInRoot },
      { rootfs, imageUser, security: { ...sampleSecurity, ...security } },
    );
  });
  return result;
}

const app = { uid: 1000, gid: 1001, supplementalGroups: [1001, 2000, 3000], home: '/home/app' };

const cases: readonly (readonly [string, string, Partial<ContainerSecurity>, unknown])[] = [
  ['no user at all', '', {}, { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' }],
  ['a name of the image', 'app', {}, app],
  ['a number of the image', '1000', {}, app],
  [
    'user and group of the image',
    'app:staff',
    {},
    { ...app, gid: 50, supplementalGroups: [50, 1001, 2000, 3000] },
  ],
  ['numbers of the image', '7:8', {}, { uid: 7, gid: 8, supplementalGroups: [8], home: '/' }],
  ['a group alone', ':50', {}, { uid: 0, gid: 50, supplementalGroups: [50], home: '/root' }],
  ['a user of the request', 'root:staff', { runAsUser: 1000 }, app],
  ['a user name of the request', '0', { runAsUsername: 'app' }, app],
  ['a unknown uid', '', { runAsUser: 4242 }, { uid: 4242, gid: 0, supplementalGroups: [0], home: '/' }],
  [
    'a group of the request',
    '',
    { runAsUser: 1000, runAsGroup: 9 },
    { ...app, gid: 9, supplementalGroups: [9, 1001, 2000, 3000] },
  ],
  [
    'further groups, merged',
    '',
    { runAsUser: 1000, supplementalGroups: [7, 2000] },
    { ...app, supplementalGroups: [1001, 2000, 3000, 7] },
  ],
  [
    'further groups, strict',
    '',
    { runAsUser: 1000, supplementalGroups: [7], supplementalGroupsPolicy: 'strict' },
    { ...app, supplementalGroups: [1001, 7] },
  ],
  [
    'CVE-2026-15809: a home with a control character',
    'evil',
    {},
    { uid: 1002, gid: 1002, supplementalGroups: [1002], home: '/' },
  ],
];

for (const [name, imageUser, security, expected] of cases) {
  test(`users: ${name}`, () => assert.deepEqual(resolve(imageUser, security), expected));
}

const refused: readonly (readonly [string, string, Partial<ContainerSecurity>, RegExp])[] = [
  ['CVE-2024-40635: a uid beyond 31 bits', '2147483648', {}, /USER: "2147483648" is not an id/],
  ['CVE-2026-46680: digits that wrap to 0', '4294967296', {}, /USER: /],
  ['a uid beyond 2^53', '99999999999999999999', {}, /USER: /],
  ['a signed uid', '-1', {}, /USER: /],
  ['a gid out of range', '0:2147483648', {}, /USER: /],
  ['three halves', 'a:b:c', {}, /user:group/],
  ['a name with a newline', 'a\nb', {}, /USER: /],
  ['an unknown name', 'nobody', {}, /user "nobody" is not in/],
  ['an unknown group', '0:none', {}, /group "none" is not in/],
  ['a name whose line is broken', 'broken', {}, /user "broken"/],
  ['run_as_user out of range', '', { runAsUser: 2 ** 31 }, /^run_as_user: /],
  ['a negative run_as_user', '', { runAsUser: -1 }, /^run_as_user: /],
  ['run_as_group without a user', 'app', { runAsGroup: 5 }, /^run_as_group: /],
  ['run_as_group out of range', '', { runAsUser: 0, runAsGroup: 2 ** 32 }, /^run_as_group: /],
  ['two users', '', { runAsUser: 0, runAsUsername: 'app' }, /^run_as_username: /],
  ['a user name with a group', '', { runAsUsername: 'app:staff' }, /^run_as_username: /],
  ['a supplemental group out of range', '', { supplementalGroups: [2 ** 40] }, /^supplemental_groups: /],
];

for (const [name, imageUser, security, message] of refused) {
  test(`users: refuses ${name}`, () => {
    assert.throws(() => resolve(imageUser, security), { kind: 'invalid-argument', message });
  });
}

test('users: an image without account files runs as any uid', () => {
  withRootfs({}, (rootfs) => {
    const request = { rootfs, imageUser: '12', security: sampleSecurity };
    const user = resolveUser({ readFileInRoot }, request);
    assert.deepEqual(user, { uid: 12, gid: 0, supplementalGroups: [0], home: '/' });
  });
});

test('CVE-2024-9676: /etc/passwd as a link leads nowhere outside of the image', () => {
  withRootfs({}, (rootfs) => {
    symlinkSync('/etc/passwd', join(rootfs, 'etc/group'));
    symlinkSync('../../../../../../../../proc/self/environ', join(rootfs, 'etc/passwd'));
    const request = { rootfs, imageUser: 'root', security: sampleSecurity };
    assert.throws(() => resolveUser({ readFileInRoot }, request), { message: /"root" is not in/ });
  });
});

test('CVE-2026-47262: a huge or endless account file costs no more than a real one', () => {
  const manyGroups = Array.from({ length: 70_000 }, (_, gid) => `g${gid}:x:${gid}:app`).join('\n');
  const files = { 'etc/passwd': `${'x'.repeat(100_000)}\n${passwd}`, 'etc/group': manyGroups };
  withRootfs(files, (rootfs) => {
    const request = { rootfs, imageUser: 'app', security: sampleSecurity };
    assert.ok(resolveUser({ readFileInRoot }, request).supplementalGroups.length <= 65_537);
  });
  withRootfs({ 'etc/passwd': 'x'.repeat(5 * 1024 * 1024) }, (rootfs) => {
    const request = { rootfs, imageUser: 'app', security: sampleSecurity };
    assert.throws(() => resolveUser({ readFileInRoot }, request), {
      kind: 'invalid-argument',
      message: /passwd/,
    });
  });
});

test('users: a reference is read as the image status shows it', () => {
  assert.deepEqual(parseUserReference('1000:1000', 'user'), {
    user: { kind: 'id', id: 1000 },
    group: { kind: 'id', id: 1000 },
  });
  assert.deepEqual(parseUserReference('www-data:', 'user'), { user: { kind: 'name', name: 'www-data' } });
  assert.deepEqual(parseUserReference('', 'user'), {});
});

test('CVE-2022-36109, CVE-2022-2995, CVE-2023-25173: the primary group is always among the groups', () => {
  const requests: readonly (readonly [string, Partial<ContainerSecurity>])[] = [
    ['', {}],
    ['app', {}],
    ['4242:77', {}],
    ['', { runAsUser: 1000, runAsGroup: 9 }],
    ['', { runAsUser: 1000, runAsGroup: 9, supplementalGroups: [5], supplementalGroupsPolicy: 'strict' }],
  ];
  for (const [imageUser, security] of requests) {
    const user = resolve(imageUser, security);
    assert.ok(user !== undefined);
    assert.equal(user.supplementalGroups[0], user.gid);
  }
  assert.ok(resolve('app')?.supplementalGroups.includes(2000), 'and those of the image');
});
