/** Attacks on other engines that the spec builder must withstand, by their numbers. docs/security.md lists them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildExecProcess } from './exec-process.ts';
import { buildSpec } from './build-spec.ts';
import {
  sampleContainer,
  sampleInput,
  withMount,
  withResources,
  withSecurity,
} from './testing/sample-input.ts';

test('GHSA-7ww5-4wqc-m92c, GHSA-jq35-85cj-fj4p: the energy counters are masked, unless nothing is', () => {
  const masked = (input: typeof sampleInput) => buildSpec(input).linux?.maskedPaths ?? [];
  assert.ok(masked(sampleInput).includes('/sys/devices/virtual/powercap'));
  assert.deepEqual(masked(withSecurity({ maskedPaths: [] })), []);
});

test('GHSA-p4rx-7wvg-fwrc, CVE-2023-6476: no annotation changes a limit, a device, a mount or a namespace', () => {
  const annotations = {
    'io.kubernetes.cri-o.UnifiedCgroup.web': 'memory.max=max',
    'io.kubernetes.cri-o.Devices': '/dev/sda:/dev/sda:rwm',
    'io.kubernetes.cri-o.userns-mode': 'auto',
    'io.kubernetes.cri-o.ShmSize': '100Gi',
    'cpu-quota.crio.io': 'disable',
    'io.kubernetes.cri.memory-limit': '0',
    'run.oci.mount_context_type': 'x',
    'org.systemd.property.MemoryMax': 'uint64 99999999999',
  };
  const plain = withResources({
    memoryLimitBytes: 64 * 1024 * 1024,
    cpuQuotaUs: 10_000,
    cpuPeriodUs: 100_000,
  });
  const annotated = {
    ...plain,
    pod: { ...plain.pod, annotations },
    container: { ...plain.container, annotations },
  };
  assert.deepEqual(buildSpec(annotated), buildSpec(plain));
});

test('CVE-2026-53488: a label of the image is nowhere in the spec', () => {
  const labels = { 'io.containerd.log': 'binary:///bin/sh', 'cdi.k8s.io/x': 'vendor/class=dev' };
  const imageConfig = { ...sampleInput.imageConfig, labels };
  const spec = buildSpec({ ...sampleInput, imageConfig });
  assert.deepEqual(spec, buildSpec(sampleInput));
});

test('CVE-2022-24769, CVE-2022-27649, CVE-2022-27652, CVE-2022-29162: nothing is inheritable, in an exec neither', () => {
  const all = withSecurity({ capabilities: { add: ['ALL'], drop: [], addAmbient: [] } });
  const { process } = buildSpec(all);
  assert.deepEqual(process.capabilities?.inheritable, []);
  assert.ok((process.capabilities?.effective ?? []).length > 30);
  assert.deepEqual(buildExecProcess(process, { command: ['sh'], tty: false }).capabilities?.inheritable, []);
});

test('CVE-2022-4318, CVE-2026-15809: HOME with a line break in real bytes is refused, also from the image', () => {
  const lines = ['/r\nevil::0:0::/:/bin/sh', '/r\revil', '/r\u0000x', '/r\u0085x'];
  for (const value of lines) {
    const container = { ...sampleContainer, env: [{ name: 'HOME', value }] };
    assert.throws(() => buildSpec({ ...sampleInput, container }), { kind: 'invalid-argument' });
    const imageConfig = { ...sampleInput.imageConfig, env: [`HOME=${value}`] };
    assert.throws(() => buildSpec({ ...sampleInput, imageConfig }), { kind: 'invalid-argument' });
  }
});

test('CVE-2019-16884: nothing is mounted over the files of /proc that confine a process', () => {
  for (const containerPath of ['/proc', '/proc/self/attr', '/proc/sys', '/x/../proc//self/'])
    assert.throws(
      () => buildSpec(withMount({ containerPath })),
      /mounts\[0\]\.container_path: .*the kernel's/,
    );
  for (const containerPath of ['/proc/meminfo', '/processes', '/host/proc'])
    assert.ok(buildSpec(withMount({ containerPath })).mounts?.some((m) => m.destination === containerPath));
});
