/** What bad requests get: which status, which words, and that nothing is left of them. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { rejectsWith, type WireRequest } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { assertNothingLeft, nodeState } from './engine/leftovers.ts';
import { createIn, listContainers, listPods, removePod, runPod, startIn } from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec, type PodSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const absent = '0123456789abcdef'.repeat(4);

describeNode('CRI: bad input', { timeoutMs: 180_000 }, ({ cri, node, assertEmpty }) => {
  test('unknown ids are NOT_FOUND and named', async () => {
    const streams = { stdin: true, stdout: true };
    const requests: readonly (readonly [string, WireRequest])[] = [
      ['PodSandboxStatus', { podSandboxId: absent }],
      [
        'CreateContainer',
        {
          podSandboxId: absent,
          config: idleSpec('c', node.images.busybox),
          sandboxConfig: podSpec('absent'),
        },
      ],
      ['StartContainer', { containerId: absent }],
      ['ContainerStatus', { containerId: absent }],
      ['UpdateContainerResources', { containerId: absent, linux: { cpuShares: 2 } }],
      ['ReopenContainerLog', { containerId: absent }],
      ['ExecSync', { containerId: absent, cmd: ['true'] }],
      ['Exec', { containerId: absent, cmd: ['true'], ...streams }],
      ['Attach', { containerId: absent, ...streams }],
      ['PortForward', { podSandboxId: absent, port: [80] }],
      ['ContainerStats', { containerId: absent }],
      ['PodSandboxStats', { podSandboxId: absent }],
      ['UpdatePodSandboxResources', { podSandboxId: absent }],
      ['CheckpointContainer', { containerId: absent }],
    ];
    for (const [method, request] of requests) {
      await rejectsWith(cri.call(method, request), 'NOT_FOUND', new RegExp(absent));
    }
  });

  test('unknown ids are no error where the CRI wants idempotence', async () => {
    await cri.call('StopPodSandbox', { podSandboxId: absent });
    await cri.call('RemovePodSandbox', { podSandboxId: absent });
    await cri.call('StopContainer', { containerId: absent, timeout: 1 });
    await cri.call('RemoveContainer', { containerId: absent });
    await cri.call('RemoveImage', { image: { image: 'registry.example/absent:1' } });
    const { image } = await cri.call<{ image: null }>('ImageStatus', {
      image: { image: 'registry.example/absent:1' },
    });
    assert.equal(image, null);
    assert.deepEqual(await cri.call('ListContainers', { filter: { id: absent } }), { containers: [] });
    assert.deepEqual(await cri.call('ListPodSandbox', { filter: { id: absent } }), { items: [] });
  });

  test('requests without what they need are INVALID_ARGUMENT and name the field', async () => {
    const requests: readonly (readonly [string, WireRequest, RegExp])[] = [
      ['RunPodSandbox', {}, /^config is missing/],
      ['RunPodSandbox', { config: {} }, /config\.metadata is missing/],
      [
        'RunPodSandbox',
        { config: { metadata: { name: 'n', namespace: 'e', uid: '' } } },
        /config\.metadata\.uid/,
      ],
      ['RunPodSandbox', { config: { metadata: { namespace: 'e', uid: 'u' } } }, /config\.metadata\.name/],
      ['StopPodSandbox', {}, /pod_sandbox_id/],
      ['RemovePodSandbox', {}, /pod_sandbox_id/],
      ['PodSandboxStatus', {}, /pod_sandbox_id/],
      ['CreateContainer', {}, /pod_sandbox_id/],
      ['CreateContainer', { podSandboxId: absent }, /config/],
      ['CreateContainer', { podSandboxId: absent, config: { metadata: { name: 'c' } } }, /config\.image/],
      ['StartContainer', {}, /container_id/],
      ['StopContainer', {}, /container_id/],
      ['RemoveContainer', {}, /container_id/],
      ['ContainerStatus', {}, /container_id/],
      ['UpdateContainerResources', { containerId: absent }, /linux/],
      ['ReopenContainerLog', {}, /container_id/],
      ['ExecSync', {}, /container_id/],
      ['Exec', {}, /container_id/],
      ['Attach', {}, /container_id/],
      ['PortForward', {}, /pod_sandbox_id/],
      ['PortForward', { podSandboxId: absent, port: [70_000] }, /port: 70000/],
      ['ContainerStats', {}, /container_id/],
      ['PodSandboxStats', {}, /pod_sandbox_id/],
      ['PullImage', {}, /image is missing/],
      ['PullImage', { image: { image: '' } }, /image\.image/],
      ['PullImage', { image: { image: 'host.example/UPPER' } }, /UPPER/],
      ['ImageStatus', {}, /image/],
      ['RemoveImage', {}, /image/],
      ['UpdateRuntimeConfig', { runtimeConfig: { networkConfig: { podCidr: 'ten' } } }, /pod_cidr: "ten"/],
    ];
    for (const [method, request, words] of requests) {
      await rejectsWith(cri.call(method, request), 'INVALID_ARGUMENT', words);
    }
  });

  test('a pod that cannot be is refused by field, and nothing of it is left', async () => {
    const bad: readonly (readonly [WireRequest, RegExp])[] = [
      [{ hostname: 'no spaces' }, /config\.hostname/],
      [{ logDirectory: 'relative' }, /config\.log_directory/],
      [{ portMappings: [{ containerPort: 0, hostPort: 80 }] }, /config\.port_mappings\[0\]\.container_port/],
      [{ portMappings: [{ containerPort: 80, hostPort: 99_999 }] }, /config\.port_mappings\[0\]\.host_port/],
      [{ portMappings: [{ containerPort: 80, hostPort: 8080, hostIp: 'here' }] }, /host_ip|here/],
      [{ linux: { sysctls: { 'kernel.core_pattern': '|/evil' } } }, /kernel\.core_pattern/],
      [{ linux: { sysctls: { 'net.ipv4.ip_forward+kernel.core_pattern': '|/evil' } } }, /core_pattern/],
      [{ linux: { securityContext: { runAsGroup: { value: 5 } } } }, /run_as_group/],
      [{ linux: { securityContext: { runAsUser: { value: -1 } } } }, /run_as_user/],
      [{ linux: { securityContext: { namespaceOptions: { pid: 'TARGET' } } } }, /target_id|pid/],
    ];
    for (const [more, words] of bad) {
      await rejectsWith(
        cri.call('RunPodSandbox', { config: podSpec('never', more) }),
        'INVALID_ARGUMENT',
        words,
      );
    }
    await rejectsWith(
      cri.call('RunPodSandbox', { config: podSpec('never'), runtimeHandler: 'absent-handler' }),
      'INVALID_ARGUMENT',
      /absent-handler/,
    );
    await assertEmpty();
  });

  test('a pod whose network cannot be made is an error that names it, and nothing of it is left', async () => {
    const list = { cniVersion: '1.0.0', name: 'broken', plugins: [{ type: 'no-such-plugin' }] };
    const file = '/etc/cni/net.d/10-broken.conflist';
    writeFileSync(file, JSON.stringify(list));
    try {
      await assert.rejects(async () => {
        // The daemon watches the folder: it may take a moment to see it.
        for (let i = 0; i < 100; i += 1) {
          await removePod(cri, (await runPod(cri, `network-${i}`)).id);
        }
      }, /no-such-plugin/);
    } finally {
      rmSync(file);
    }
    // Nor does it see at once that the file has gone.
    const { id } = await eventually('a pod without that network', async () =>
      runPod(cri, 'network-again').catch(() => undefined),
    );
    await removePod(cri, id);
    await assertEmpty();
  });

  test('a container that cannot be is refused by what is wrong, and nothing of it is left', async () => {
    const pod = await runPod(cri, 'bad-containers');
    const withPod = nodeState();
    const image = node.images.busybox;
    const bad: readonly (readonly [PodSpec, RegExp])[] = [
      [containerSpec('c', 'registry.example/absent:1'), /absent:1/],
      [
        containerSpec('c', image, { mounts: [{ hostPath: '/absent-on-host', containerPath: '/m' }] }),
        /\/absent-on-host/,
      ],
      [
        containerSpec('c', image, { mounts: [{ hostPath: 'relative', containerPath: '/m' }] }),
        /config\.mounts\[0\]\.host_path/,
      ],
      [
        containerSpec('c', image, { mounts: [{ hostPath: '/tmp', containerPath: '' }] }),
        /config\.mounts\[0\]\.container_path/,
      ],
      [
        containerSpec('c', image, {
          mounts: [{ hostPath: '/tmp', containerPath: '/m', recursiveReadOnly: true }],
        }),
        /recursive_read_only/,
      ],
      [
        containerSpec('c', image, {
          devices: [{ hostPath: '/dev/absent', containerPath: '/dev/x', permissions: 'rw' }],
        }),
        /\/dev\/absent/,
      ],
      [
        containerSpec('c', image, {
          devices: [{ hostPath: '/dev/null', containerPath: '/dev/x', permissions: 'q' }],
        }),
        /config\.devices\[0\]\.permissions/,
      ],
      [
        containerSpec('c', image, { CDIDevices: [{ name: 'vendor.example/class=absent' }] }),
        /vendor\.example\/class=absent/,
      ],
      [containerSpec('c', image, { logPath: '../../escape.log' }), /log_path|escape/],
      [
        containerSpec('c', image, {
          linux: { securityContext: { seccomp: { profileType: 'Localhost', localhostRef: '/absent.json' } } },
        }),
        /\/absent\.json/,
      ],
      [
        containerSpec('c', image, { linux: { securityContext: { runAsUsername: 'nobody-here' } } }),
        /nobody-here/,
      ],
      [
        containerSpec('c', image, { linux: { securityContext: { runAsGroup: { value: 1 } } } }),
        /run_as_group/,
      ],
      [
        containerSpec('c', image, {
          linux: { securityContext: { capabilities: { addCapabilities: ['NOT_ONE'] } } },
        }),
        /NOT_ONE/,
      ],
      [containerSpec('c', image, { command: ['/absent-program'] }), /absent-program/],
      [containerSpec('c', image, { envs: [{ key: '', value: Buffer.from('v') }] }), /config\.envs/],
    ];
    for (const [config, words] of bad) {
      await assert.rejects(startIn(cri, pod, config), words);
      for (const { id } of await listContainers(cri)) await cri.call('RemoveContainer', { containerId: id });
    }
    await assertNothingLeft(withPod);
    await removePod(cri, pod.id);
  });

  test('what is wrong for the state of a thing is FAILED_PRECONDITION', async () => {
    const pod = await runPod(cri, 'states');
    const containerId = await createIn(cri, pod, idleSpec('states', node.images.busybox));
    await rejectsWith(
      cri.call('ExecSync', { containerId, cmd: ['true'] }),
      'FAILED_PRECONDITION',
      /not running/,
    );
    await rejectsWith(
      cri.call('Attach', { containerId, stdout: true }),
      'FAILED_PRECONDITION',
      /not running/,
    );
    await cri.call('StartContainer', { containerId });
    await rejectsWith(cri.call('StartContainer', { containerId }), 'FAILED_PRECONDITION', /running/);
    await rejectsWith(
      createIn(cri, pod, idleSpec('states', node.images.busybox, { tty: true })),
      'ALREADY_EXISTS',
      new RegExp(containerId),
    );
    await rejectsWith(
      cri.call('Exec', { containerId, cmd: ['true'], stdin: true, stdout: true, stderr: true, tty: true }),
      'INVALID_ARGUMENT',
      /tty and stderr/,
    );
    await rejectsWith(
      cri.call('Exec', { containerId, cmd: ['true'] }),
      'INVALID_ARGUMENT',
      /stdin, stdout and stderr/,
    );
    await rejectsWith(cri.call('ExecSync', { containerId, cmd: [] }), 'INVALID_ARGUMENT', /cmd/);
    await cri.call('StopContainer', { containerId, timeout: 5 });
    await rejectsWith(cri.call('StartContainer', { containerId }), 'FAILED_PRECONDITION', /exited/);
    await cri.call('StopPodSandbox', { podSandboxId: pod.id });
    await rejectsWith(
      createIn(cri, pod, idleSpec('late', node.images.busybox)),
      'FAILED_PRECONDITION',
      /not ready|not-ready/,
    );
    await cri.call('RemovePodSandbox', { podSandboxId: pod.id });
    await assertEmpty();
  });

  test('a client that gives up in the middle finds its name free or its work done', async () => {
    for (let i = 0; i < 5; i += 1) {
      const metadata = { name: 'impatient', uid: 'u', namespace: 'e2e', attempt: i };
      const config = podSpec('impatient', { metadata });
      await cri.call('RunPodSandbox', { config }, { timeoutMs: 5 * (i + 1) }).catch(() => undefined);
      // It waits while what was given up is being undone, and is given what was done all the same.
      const { id } = await runPod(cri, 'impatient', { metadata });
      assert.deepEqual(
        (await listPods(cri)).map((listed) => listed.id),
        [id],
      );
      await removePod(cri, id);
    }
    await assertEmpty();
  });
});
