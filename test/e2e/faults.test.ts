// test-minutes: 10
/** What is missing, hangs or will not end: an error that names it, nothing left behind, and everything else goes on. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, before, describe, test } from 'node:test';
import { mount, unmount } from '../../src/linux/mount.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { assertNothingLeft, nodeState } from './engine/leftovers.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  logOf,
  pidOf,
  removeAllPods,
  runPod,
  startIn,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { findProcesses, isRunning } from './engine/processes.ts';
import { eventually } from './engine/wait.ts';

const confDirectory = '/etc/cni/net.d';
const pluginDirectory = '/opt/cni/bin';

describeNode('faults', { isEmptiedAfterEach: true }, ({ cri, node }) => {
  describe('what is missing is named, and nothing is left', () => {
    const cases: Readonly<
      Record<
        string,
        readonly [
          more: Readonly<Record<string, unknown>>,
          code: 'NOT_FOUND' | 'FAILED_PRECONDITION' | 'INVALID_ARGUMENT',
          names: RegExp,
        ]
      >
    > = {
      'a host path': [
        { mounts: [{ hostPath: '/nowhere/at/all', containerPath: '/data' }] },
        'FAILED_PRECONDITION',
        /"\/nowhere\/at\/all" does not exist/,
      ],
      'an image': [{ image: { image: 'registry.invalid/none:1' } }, 'NOT_FOUND', /registry\.invalid\/none:1/],
      'an image to mount': [
        {
          mounts: [{ image: { image: 'registry.invalid/data:1' }, containerPath: '/data', readonly: true }],
        },
        'NOT_FOUND',
        /registry\.invalid\/data:1/,
      ],
      'a seccomp profile': [
        {
          linux: {
            securityContext: { seccomp: { profileType: 'Localhost', localhostRef: '/nowhere/profile.json' } },
          },
        },
        'FAILED_PRECONDITION',
        /\/nowhere\/profile\.json/,
      ],
      'a device': [
        { devices: [{ hostPath: '/dev/none-such', containerPath: '/dev/x', permissions: 'rw' }] },
        'FAILED_PRECONDITION',
        /\/dev\/none-such/,
      ],
      'a CDI device': [
        { CDIDevices: [{ name: 'vendor.com/none=0' }] },
        'INVALID_ARGUMENT',
        /vendor\.com\/none=0/,
      ],
      'a user': [
        { linux: { securityContext: { runAsUsername: 'nobody-by-this-name' } } },
        'INVALID_ARGUMENT',
        /nobody-by-this-name/,
      ],
    };
    for (const [what, [more, code, names]] of Object.entries(cases)) {
      test(what, async () => {
        const pod = await runPod(cri, 'lacking');
        // The holder's process has another name until its program runs.
        await eventually('the holder', () => findProcesses(/^\/catatonit /).length === 1 || undefined);
        const inPod = nodeState();
        await rejectsWith(createIn(cri, pod, containerSpec('c', node.images.busybox, more)), code, names);
        assert.deepEqual(await listContainers(cri), []);
        await assertNothingLeft(inPod);
        // The name is free.
        await startIn(cri, pod, idleSpec('c', node.images.busybox));
      });
    }

    test('a runtime handler', async () => {
      const request = { config: podSpec('p'), runtimeHandler: 'none-such' };
      await rejectsWith(cri.call('RunPodSandbox', request), 'INVALID_ARGUMENT', /none-such/);
      await runPod(cri, 'p');
    });

    test('the program of a container', async () => {
      const pod = await runPod(cri, 'p');
      const id = await createIn(
        cri,
        pod,
        containerSpec('c', node.images.busybox, { command: ['/no/program'] }),
      ).catch((error: unknown) => error);
      if (typeof id === 'string') {
        await assert.rejects(cri.call('StartContainer', { containerId: id }), /\/no\/program/);
        const status = await statusOf(cri, id);
        assert.deepEqual(
          [status.state, status.reason, status.exitCode],
          ['CONTAINER_EXITED', 'StartError', 128],
        );
        assert.match(status.message, /\/no\/program/);
      } else assert.match(String(id), /\/no\/program/);
    });
  });

  describe('CNI', () => {
    const list = join(confDirectory, '00-faulty.conflist');
    const configure = (type: string): void =>
      writeFileSync(list, JSON.stringify({ cniVersion: '1.0.0', name: 'faulty', plugins: [{ type }] }));
    before(() => mkdirSync(pluginDirectory, { recursive: true }));
    afterEach(async () => {
      rmSync(list, { force: true });
      await eventually('the built-in network', async () => await runPod(cri, 'probe').catch(() => undefined));
      await removeAllPods(cri);
    });

    test('a plugin that is not installed is named', async () => {
      configure('none-such');
      await eventually('the new network', async () => {
        const outcome = await runPod(cri, 'p').catch((error: unknown) => error);
        if (!(outcome instanceof Error)) await removeAllPods(cri);
        return outcome instanceof Error ? outcome : undefined;
      }).then((error) => assert.match(error.message, /none-such/));
      assert.deepEqual(await listPods(cri), []);
    });

    test('a plugin that hangs costs its pod until the deadline, and is ended', async () => {
      const plugin = join(pluginDirectory, 'hanging');
      writeFileSync(
        plugin,
        `#!/bin/sh
if [ "$CNI_COMMAND" = VERSION ]; then echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'; exit 0; fi
if [ "$CNI_COMMAND" = ADD ]; then exec sleep 4714; fi
if [ "$CNI_COMMAND" = DEL ]; then touch "$0.undone"; fi
exit 0
`,
        { mode: 0o755 },
      );
      configure('hanging');
      await eventually('the new network', async () => {
        const request = {
          config: podSpec('p', { linux: { securityContext: { namespaceOptions: { pid: 'CONTAINER' } } } }),
        };
        const outcome = await cri
          .call('RunPodSandbox', request, { timeoutMs: 1500 })
          .catch((error: unknown) => error);
        if (!(outcome instanceof Error)) await removeAllPods(cri);
        return outcome instanceof Error ? outcome : undefined;
      }).then((error) => assert.match(error.message, /DEADLINE_EXCEEDED/));
      await eventually('its end', () => findProcesses(/^sleep 4714/).length === 0 || undefined);
      // A pod that is being undone is not listed: the plugin tells when it was called for that.
      await eventually('the undoing', () => existsSync(`${plugin}.undone`) || undefined);
      assert.deepEqual(await listPods(cri), []);
      rmSync(plugin);
      rmSync(`${plugin}.undone`);
    });
  });

  test('a host path on a file system that never answers is named; everything else goes on; SIGTERM ends the daemon', async () => {
    using hung = mountHung('/run/hung');
    const pod = await runPod(cri, 'p');
    const other = await runPod(cri, 'other');
    const mounts = [{ hostPath: `${hung.path}/data`, containerPath: '/data' }];
    const stuck = rejectsWith(
      createIn(cri, pod, containerSpec('c', node.images.busybox, { mounts })),
      'DEADLINE_EXCEEDED',
      /\/run\/hung\/data/,
    );
    const id = await startIn(cri, other, idleSpec('beside', node.images.busybox));
    assert.equal((await exec(cri, id, 'true')).exitCode, 0);
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
    await stuck;
    assert.deepEqual(
      (await listContainers(cri)).map((one) => one.id),
      [id],
    );
    await startIn(cri, pod, idleSpec('c', node.images.busybox));
    const pid = await pidOf(cri, id);
    assert.equal(await node.daemon.stop(), 0);
    assert.ok(isRunning(pid));
    await node.daemon.startAgain();
    assert.equal((await exec(cri, id, 'true')).exitCode, 0);
  });

  describe('what will not end', () => {
    const deaf = (name: string) =>
      containerSpec(name, node.images.busybox, {
        command: ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'],
      });
    const startDeaf = async (name: string) => {
      const pod = await runPod(cri, name);
      const id = await startIn(cri, pod, deaf('deaf'));
      const { logPath } = await statusOf(cri, id);
      await eventually('its trap', () => logOf(logPath).includes('ready') || undefined);
      return { pod, id };
    };

    test('StopContainer kills a process that ignores its signal', async () => {
      const { id } = await startDeaf('p');
      await cri.call('StopContainer', { containerId: id, timeout: '1' });
      const status = await statusOf(cri, id);
      assert.deepEqual([status.state, status.exitCode, status.reason], ['CONTAINER_EXITED', 137, 'Error']);
    });

    test('StopPodSandbox too', async () => {
      const { pod, id } = await startDeaf('p');
      await cri.call('StopPodSandbox', { podSandboxId: pod.id });
      assert.equal((await statusOf(cri, id)).exitCode, 137);
    });

    test('a grandchild that keeps the pipes open does not delay the end (containerd issues 6080, 2744)', async () => {
      const more = { linux: { securityContext: { namespaceOptions: { pid: 'POD' } } } };
      const pod = await runPod(cri, 'p', more);
      const command = ['sh', '-c', 'sleep 4715 & echo said; exit 6'];
      const id = await startIn(cri, pod, containerSpec('parent', node.images.busybox, { command, ...more }));
      const status = await untilState(cri, id, 'CONTAINER_EXITED');
      assert.deepEqual([status.exitCode, status.reason], [6, 'Error']);
      await eventually('its end', () => findProcesses(/^sleep 4715/).length === 0 || undefined);
      const idle = await startIn(cri, pod, idleSpec('idle', node.images.busybox, more));
      const result = await exec(cri, idle, 'sh', '-c', 'sleep 4716 & echo out; exit 3');
      assert.deepEqual(result, { stdout: 'out', exitCode: 3 });
      await cri.call('StopContainer', { containerId: idle, timeout: '0' });
      await eventually('its end', () => findProcesses(/^sleep 4716/).length === 0 || undefined);
    });

    for (const [what, kill] of [
      ['its holder', (holder: number) => process.kill(holder, 'SIGKILL')],
      [
        'its holder and its holder’s monitor',
        (holder: number) => [parentOf(holder), holder].forEach((pid) => process.kill(pid, 'SIGKILL')),
      ],
    ] as const) {
      test(`a pod whose PID namespace has lost ${what} is stopped at once`, async () => {
        const more = { linux: { securityContext: { namespaceOptions: { pid: 'POD' } } } };
        const { id: podSandboxId, ...pod } = await runPod(cri, 'p', more);
        const idle = idleSpec('idle', node.images.busybox, more);
        const id = await startIn(cri, { id: podSandboxId, ...pod }, idle);
        const { info } = await cri.call<{ info: { info: string } }>('PodSandboxStatus', {
          podSandboxId,
          verbose: true,
        });
        kill((JSON.parse(info.info) as { pid: number }).pid);
        await eventually('its end', async () =>
          (await listPods(cri)).find(({ state }) => state === 'SANDBOX_NOTREADY'),
        );
        assert.equal((await untilState(cri, id, 'CONTAINER_EXITED')).exitCode, 137);
      });
    }
  });
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** A FUSE file system whose server never reads a request. */
function mountHung(path: string): Disposable & { readonly path: string } {
  mkdirSync(path, { recursive: true });
  const fuse = openSync('/dev/fuse', 'r+');
  mount({
    source: 'never',
    target: path,
    fstype: 'fuse',
    data: `fd=${fuse},rootmode=40000,user_id=0,group_id=0`,
  });
  return {
    path,
    [Symbol.dispose]() {
      unmount(path, { lazy: true });
      closeSync(fuse);
      rmSync(path, { recursive: true });
    },
  };
}
