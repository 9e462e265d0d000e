// test-minutes: 15
/** Some specs of Kubernetes' node conformance suite, one or two of each area; all of them are `npm run conformance:node`. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parseOptions } from '../../hack/lib/node-e2e/options.ts';
import { runAll } from '../../hack/lib/node-e2e/whole-run.ts';

const focus = [
  'Pods should support remote command execution over websockets',
  'Pods should support retrieving logs from the container over websockets',
  'Container Lifecycle Hook .*should execute prestop exec hook properly',
  'Security Context When creating a pod with readOnlyRootFilesystem should run the container with readonly rootfs',
  'Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation',
  'Sysctls .*should support sysctls \\[',
  'KubeletManagedEtcHosts should test kubelet managed',
  'InitContainer .*should invoke init containers on a RestartAlways pod',
  'Ephemeral Containers .*will start an ephemeral container',
  'Mount recursive read-only .*should accept recursive read-only mounts',
  'MirrorPod when create a mirror pod .*should be updated when static pod updated',
  'ContainerLogPath .*should print log to correct cri log path',
  'PodOverhead .*should be sum of overhead and resource limits',
  'Networking Granular Checks: Pods should function for intra-pod communication: http',
  'EmptyDir volumes when FSGroup is specified .*volume on tmpfs should have the correct mode',
  'Containers Lifecycle .*should run Init container to completion before c',
  'should report termination message if TerminationMessagePath is set as non-root user',
];

function skipReason(): string | undefined {
  if (process.env['GANTRY_TEST_HOST'] === undefined)
    return 'needs a node of its own: run it through hack/test, or hack/node-e2e';
  return process.env['GANTRY_NODE_SUITE'] === undefined ||
    process.env['GANTRY_NODE_SUITE_IMAGES'] === undefined
    ? "Kubernetes' node suite or its images could not be built here (hack/kubelet e2e_node, hack/test-images node-suite)"
    : undefined;
}

async function defineTests(): Promise<void> {
  const logs = mkdtempSync(join(tmpdir(), 'gantry-node-e2e-'));
  const options = parseOptions([
    `--logs=${logs}`,
    `--kubernetes=${dirname(process.env['GANTRY_NODE_SUITE'] ?? '')}`,
    `--images=${process.env['GANTRY_NODE_SUITE_IMAGES'] ?? ''}`,
    `--program=${join(import.meta.dirname, '../../dist/main.js')}`,
    '--procs=6',
    ...focus.map((pattern) => `--focus=${pattern}`),
  ]);
  const { specs, suiteFailures } = await runAll(options);
  test('the suite ran', () => assert.deepEqual(suiteFailures, []));
  test('every pattern names a spec', () =>
    assert.deepEqual(
      focus.filter((pattern) => !specs.some(({ name }) => new RegExp(pattern).test(name))),
      [],
    ));
  for (const { name, state, message } of specs)
    if (state === 'skipped') test(name, { skip: message }, () => undefined);
    else test(name, () => assert.equal(state, 'passed', message));
  if (specs.some(({ state }) => state === 'failed'))
    console.log(readFileSync(join(logs, 'gantry.log'), 'utf8').split('\n').slice(-200).join('\n'));
  rmSync(logs, { recursive: true });
}

const reason = skipReason();
if (reason === undefined) await defineTests();
else test('node suite', { skip: reason }, () => undefined);
