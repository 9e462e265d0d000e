import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../lib/errors.ts';
import { buildSpec } from './build-spec.ts';
import type { SpecInput } from './spec-input.ts';
import {
  sampleContainer,
  sampleHost,
  sampleInput,
  sampleSecurity,
  withMount,
  withResources,
  withSecurity,
} from './testing/sample-input.ts';

const withContainer = (changes: Partial<typeof sampleContainer>): SpecInput => ({
  ...sampleInput,
  container: { ...sampleContainer, ...changes },
});

const refused: readonly (readonly [string, SpecInput, RegExp])[] = [
  [
    'no command',
    { ...sampleInput, imageConfig: { ...sampleInput.imageConfig, entrypoint: [], cmd: [] } },
    /^command: no command/,
  ],
  ['an empty program', withContainer({ command: [''] }), /^command: .*empty/],
  ['NUL in an argument', withContainer({ args: ['a\0b'] }), /^command: argument 1/],
  [
    'a relative working directory',
    withContainer({ workingDir: 'srv' }),
    /^working_dir: "srv" is not an absolute/,
  ],
  [
    'CVE-2024-21626: cwd in /proc',
    withContainer({ workingDir: '//proc/./self/fd/8' }),
    /^working_dir: .*\/proc/,
  ],
  ['CVE-2024-21626: cwd in /dev/fd', withContainer({ workingDir: '/x/../dev/fd/8' }), /^working_dir: /],
  [
    'CVE-2024-21626: cwd of the image',
    { ...sampleInput, imageConfig: { ...sampleInput.imageConfig, workingDir: '/proc/self/fd/7' } },
    /WorkingDir: /,
  ],
  ['a variable without a name', withContainer({ env: [{ name: '', value: '' }] }), /^envs\[0\]\.key: /],
  ['= in a variable', withContainer({ env: [{ name: 'A=B', value: '' }] }), /^envs\[0\]\.key: /],
  ['NUL in a value', withContainer({ env: [{ name: 'A', value: 'b\0' }] }), /^envs\[A\]: /],
  [
    'CVE-2026-15809: newline in HOME',
    withContainer({ env: [{ name: 'HOME', value: '/r\nx::0:0' }] }),
    /^envs\[HOME\]: /,
  ],
  [
    'an unknown capability',
    withSecurity({ capabilities: { add: ['FLY'], drop: [], addAmbient: [] } }),
    /^capabilities\.add.*"FLY"/,
  ],
  ['a privileged container in a plain sandbox', withSecurity({ privileged: true }), /^privileged: /],
  ['a relative mount point', withMount({ containerPath: 'data' }), /^mounts\[0\]\.container_path: /],
  ['a mount on the root', withMount({ containerPath: '/x/..' }), /^mounts\[0\]\.container_path: /],
  ['a mount of nothing', withMount({ hostPath: undefined }), /^mounts\[0\]\.host_path: /],
  ['a mount of both', withMount({ image: { reference: 'x', annotations: {} } }), /^mounts\[0\]\.host_path: /],
  ['a sub path of no image', withMount({ imageSubPath: 'x' }), /^mounts\[0\]\.image_sub_path: /],
  [
    'two mounts in one place',
    { ...sampleInput, mounts: [...withMount({}).mounts, ...withMount({ containerPath: '/data/' }).mounts] },
    /^mounts: "\/data" is mounted twice/,
  ],
  [
    'recursive read-only, but writable',
    withMount({ recursiveReadOnly: true }),
    /^mounts\[0\]\.recursive_read_only: /,
  ],
  [
    'recursive read-only, but propagated',
    withMount({ recursiveReadOnly: true, readonly: true, propagation: 'host-to-container' }, 'shared'),
    /^mounts\[0\]\.recursive_read_only: /,
  ],
  ['an OOM score out of range', withResources({ oomScoreAdj: 2000 }), /^oom_score_adj: /],
  ['a tiny memory limit', withResources({ memoryLimitBytes: 1000 }), /^memory_limit_in_bytes: /],
  [
    'swap below memory',
    withResources({ memoryLimitBytes: 2 ** 24, memorySwapLimitBytes: 2 ** 23 }),
    /^memory_swap_limit/,
  ],
  ['a tiny quota', withResources({ cpuQuotaUs: 5 }), /^cpu_quota: /],
  ['a huge period', withResources({ cpuPeriodUs: 2_000_000 }), /^cpu_period: /],
  ['a strange cpuset', withResources({ cpusetCpus: '0-' }), /^cpuset_cpus: /],
  [
    'a strange page size',
    withResources({ hugepageLimits: [{ pageSize: '../x', limitBytes: 1 }] }),
    /^hugepage_limits\.page_size: /,
  ],
  ['a cgroup file of ours', withResources({ unified: { 'cgroup.procs': '1' } }), /^unified: "cgroup.procs"/],
  ['a cgroup file elsewhere', withResources({ unified: { '../memory.max': '1' } }), /^unified: /],
  [
    'a pid namespace that is not shared',
    withSecurity({ namespaces: { ...sampleSecurity.namespaces, pid: { mode: 'pod' } } }),
    /^namespace_options\.pid: /,
  ],
  [
    'an SELinux level with spaces',
    withSecurity({ selinux: { level: 's0 c1' } }),
    /^selinux_options\.level: /,
  ],
  ['a relative masked path', withSecurity({ maskedPaths: ['proc/keys'] }), /^masked_paths: /],
];

for (const [name, input, message] of refused) {
  test(`spec: refuses ${name}`, () => {
    assert.throws(
      () => buildSpec(input),
      (error) => {
        assert.ok(error instanceof EngineError);
        assert.equal(error.kind, 'invalid-argument');
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

const impossible: readonly (readonly [string, SpecInput, RegExp])[] = [
  [
    'seccomp',
    {
      ...withSecurity({ seccomp: { type: 'runtime-default' } }),
      host: { ...sampleHost, seccomp: { ...sampleHost.seccomp, enabled: false } },
    },
    /^seccomp: /,
  ],
  ['AppArmor', withSecurity({ apparmor: { type: 'runtime-default' } }), /^apparmor: .*not enabled/],
  [
    'an AppArmor profile',
    {
      ...withSecurity({ apparmor: { type: 'localhost', ref: 'mine' } }),
      host: { ...sampleHost, apparmorEnabled: true },
    },
    /"mine" is not loaded/,
  ],
  [
    'recursive read-only mounts',
    {
      ...withMount({ readonly: true, recursiveReadOnly: true }),
      host: { ...sampleHost, recursiveReadOnlyMounts: false },
    },
    /^mounts\[0\]\.recursive_read_only: .*kernel/,
  ],
  [
    'a shared mount',
    withMount({ propagation: 'bidirectional' }, 'slave'),
    /^mounts\[0\]\.propagation: "\/srv\/data" is not on a shared/,
  ],
  [
    'a slave mount',
    withMount({ propagation: 'host-to-container' }, 'private'),
    /^mounts\[0\]\.propagation: /,
  ],
  [
    'huge pages of that size',
    withResources({ hugepageLimits: [{ pageSize: '16MB', limitBytes: 2 ** 24 }] }),
    /^hugepage_limits: .*16MB/,
  ],
  [
    'cgroup v2',
    { ...withResources({ unified: { 'memory.high': '1' } }), host: { ...sampleHost, cgroupVersion: 'v1' } },
    /^unified: /,
  ],
  [
    'the target container',
    withSecurity({ namespaces: { ...sampleSecurity.namespaces, pid: { mode: 'target', targetId: 'x' } } }),
    /target_id/,
  ],
];

for (const [name, input, message] of impossible) {
  test(`spec: says when the node lacks ${name}`, () => {
    assert.throws(
      () => buildSpec(input),
      (error) => {
        assert.ok(error instanceof EngineError);
        assert.equal(error.kind, 'failed-precondition');
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
