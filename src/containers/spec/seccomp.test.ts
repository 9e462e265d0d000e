import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Seccomp } from '../../oci/spec-types.ts';
import { parseSeccompProfile, type SeccompContext } from './seccomp-profile.ts';
import { defaultSeccomp } from './seccomp.ts';
import { sampleHost } from './testing/sample-input.ts';

const plain: SeccompContext = {
  architecture: 'amd64',
  kernel: sampleHost.kernel,
  capabilities: ['CAP_CHOWN'],
};

const contexts: Readonly<Record<string, SeccompContext>> = {
  'amd64-plain': plain,
  'amd64-admin': { ...plain, capabilities: sampleHost.capabilities },
  'amd64-old-kernel': { ...plain, kernel: { major: 4, minor: 4 } },
  'arm64-plain': { ...plain, architecture: 'arm64' },
  's390x-plain': { ...plain, architecture: 's390x' },
};

for (const [name, context] of Object.entries(contexts)) {
  test(`seccomp: the default profile of ${name} is as recorded`, (t: TestContext) => {
    t.assert.fileSnapshot(defaultSeccomp(context), `test/golden/spec/seccomp/${name}.json`);
  });
}

function isAllowed(profile: Seccomp, call: string): boolean {
  const plainRules = (profile.syscalls ?? []).filter(({ args }) => args === undefined);
  return plainRules.some(({ names, action }) => action === 'SCMP_ACT_ALLOW' && names.includes(call));
}

test('seccomp: dangerous calls come only with their capability', () => {
  const calls = {
    CAP_SYS_ADMIN: 'mount',
    CAP_SYS_MODULE: 'init_module',
    CAP_SYS_BOOT: 'reboot',
    CAP_SYS_TIME: 'clock_settime',
    CAP_SYS_PTRACE: 'kcmp',
    CAP_BPF: 'bpf',
    CAP_SYSLOG: 'syslog',
    CAP_SYS_RAWIO: 'iopl',
    CAP_DAC_READ_SEARCH: 'open_by_handle_at',
  };
  for (const [capability, call] of Object.entries(calls)) {
    assert.equal(isAllowed(defaultSeccomp(plain), call), false, call);
    assert.equal(isAllowed(defaultSeccomp({ ...plain, capabilities: [capability] }), call), true, call);
  }
  for (const call of [
    'keyctl',
    'add_key',
    'io_uring_setup',
    'userfaultfd',
    'kexec_load',
    'swapon',
    'unshare',
  ]) {
    assert.equal(isAllowed(defaultSeccomp(plain), call), false, call);
  }
});

const profile = (syscalls: readonly unknown[], more: object = {}) =>
  JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', syscalls, ...more });
const rule = (conditions: object) => ({ names: ['read'], action: 'SCMP_ACT_ALLOW', ...conditions });
const admin: SeccompContext = { ...plain, capabilities: ['CAP_SYS_ADMIN'] };

const conditions: readonly (readonly [string, object, SeccompContext, boolean])[] = [
  ['no condition', {}, plain, true],
  ['empty conditions', { includes: {}, excludes: { caps: null } }, plain, true],
  ['a capability that is held', { includes: { caps: ['CAP_SYS_ADMIN'] } }, admin, true],
  ['a capability that is not held', { includes: { caps: ['CAP_SYS_ADMIN'] } }, plain, false],
  ['an excluded capability', { excludes: { caps: ['CAP_SYS_ADMIN'] } }, admin, false],
  ['the architecture', { includes: { arches: ['amd64', 'x32'] } }, plain, true],
  ['another architecture', { includes: { arches: ['s390x'] } }, plain, false],
  ['an excluded architecture', { excludes: { arches: ['amd64'] } }, plain, false],
  ['an older kernel', { includes: { minKernel: '4.8' } }, plain, true],
  ['a newer kernel', { includes: { minKernel: '99.1' } }, plain, false],
];

for (const [name, condition, context, counts] of conditions) {
  test(`seccomp: a rule with ${name} ${counts ? 'counts' : 'does not count'}`, () => {
    const parsed = parseSeccompProfile(profile([rule(condition)]), '/p.json', context);
    assert.equal(parsed.syscalls?.length, counts ? 1 : 0);
  });
}

test('seccomp: archMap gives the ABIs of this architecture, an OCI list is taken as it is', () => {
  const archMap = [
    { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
    { architecture: 'SCMP_ARCH_X86_64', subArchitectures: null },
  ];
  assert.deepEqual(parseSeccompProfile(profile([], { archMap }), 'p', plain).architectures, [
    'SCMP_ARCH_X86_64',
  ]);
  const architectures = ['SCMP_ARCH_ARM'];
  assert.deepEqual(
    parseSeccompProfile(profile([], { architectures }), 'p', plain).architectures,
    architectures,
  );
});

const bad: readonly (readonly [string, string, RegExp])[] = [
  ['no JSON', '{', /"\/p\.json": is not JSON/],
  ['null', 'null', /"\/p\.json": /],
  ['an unknown action', profile([{ names: ['read'], action: 'SCMP_ACT_MAYBE' }]), /syscalls\.0\.action/],
  ['a rule without a name', profile([{ names: [], action: 'SCMP_ACT_ALLOW' }]), /names no system call/],
  ['a strange name', profile([{ names: ['a b'], action: 'SCMP_ACT_ALLOW' }]), /syscalls\.0\.names\.0/],
  [
    'a value that a double rounds',
    profile([]).replace(
      '[]',
      '[{"names":["x"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]',
    ),
    /syscalls\.0\.args\.0\.value/,
  ],
  [
    'both lists of architectures',
    profile([], { architectures: ['SCMP_ARCH_X86'], archMap: [{ architecture: 'SCMP_ARCH_X86_64' }] }),
    /exclude each other/,
  ],
  ['a mebibyte of blanks', ' '.repeat(1024 * 1024 + 1), /larger than/],
];

for (const [name, text, message] of bad) {
  test(`seccomp: refuses a profile with ${name}`, () => {
    assert.throws(() => parseSeccompProfile(text, '/p.json', plain), { kind: 'invalid-argument', message });
  });
}
