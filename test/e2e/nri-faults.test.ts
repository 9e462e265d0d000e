/** Plugins that refuse, hang or die: the request fails or goes on, nothing is left, and none of them stops the node. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { NriPlugin, nriPluginProgram, nriPluginSkipReason, type Told } from './engine/nri-plugin.ts';
import { createIn, listPods, removePod, runPod, startIn, statusOf } from './engine/pod-steps.ts';
import { idleSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const skip = nriPluginSkipReason() ?? false;
const requestTimeoutSeconds = 1;
const toml = `[nri]\nplugin_request_timeout_seconds = ${requestTimeoutSeconds}\n`;

describeNode('NRI faults', { toml, isEmptiedAfterEach: true, timeoutMs: 300_000 }, ({ cri, node }) => {
  const image = (): string => node.images.busybox;

  describe('plugins that refuse, hang or die', { skip }, () => {
    test('a refused pod is undone, and a later one is made', async () => {
      const plugin = await NriPlugin.start('00', 'strict', {
        RunPodSandbox: { for: 'refused', error: 'no room' },
      });
      await using _ = plugin;
      await rejectsWith(runPod(cri, 'refused'), 'FAILED_PRECONDITION', /00-strict refused .*no room/);
      assert.deepEqual(await listPods(cri), []);
      const { pod } = await plugin.until('RemovePodSandbox');
      assert.deepEqual(plugin.eventsOf(pod?.id ?? ''), [
        'RunPodSandbox',
        'StopPodSandbox',
        'RemovePodSandbox',
      ]);
      await runPod(cri, 'other');
    });

    test('a refused start ends the container with the plugin’s words', async () => {
      await using plugin = await NriPlugin.start('00', 'strict', { StartContainer: { error: 'not now' } });
      const pod = await runPod(cri, 'unstarted');
      const id = await createIn(cri, pod, idleSpec('a', image()));
      await rejectsWith(cri.call('StartContainer', { containerId: id }), 'FAILED_PRECONDITION', /not now/);
      const { reason, message } = (await statusOf(cri, id)) as unknown as { reason: string; message: string };
      assert.equal(reason, 'StartError');
      assert.match(message, /not now/);
      await plugin.until('StopContainer', (told) => told.container?.id === id);
    });

    test('a refused update changes nothing', async () => {
      await using _ = await NriPlugin.start('00', 'strict', { UpdateContainer: { error: 'keep it' } });
      const pod = await runPod(cri, 'kept');
      const id = await startIn(
        cri,
        pod,
        idleSpec('a', image(), { linux: { resources: { cpuShares: '300' } } }),
      );
      await rejectsWith(
        cri.call('UpdateContainerResources', { containerId: id, linux: { cpuShares: '999' } }),
        'FAILED_PRECONDITION',
        /keep it/,
      );
      const { resources } = (await statusOf(cri, id)) as unknown as {
        resources: { linux: { cpuShares: string } };
      };
      assert.equal(resources.linux.cpuShares, '300');
    });

    for (const event of [
      'RunPodSandbox',
      'CreateContainer',
      'StartContainer',
      'StopContainer',
      'StopPodSandbox',
    ]) {
      test(`one that hangs in ${event} is disconnected after its time, and the node goes on`, async () => {
        await using plugin = await NriPlugin.start('00', `hung-${event}`, { [event]: { hang: true } });
        const pod = await runPod(cri, 'goes-on');
        await startIn(cri, pod, idleSpec('a', image()));
        await removePod(cri, pod.id);
        await plugin.until(event);
        await eventually('the daemon saying so', () =>
          /"plugin":"00-hung-[a-zA-Z]+","event":"[a-zA-Z]+","reason":"[A-Za-z]+: no answer within 1000 ms"/.test(
            node.daemon.log,
          )
            ? true
            : undefined,
        );
        await plugin.ended;
      });
    }

    test('one that dies in the middle of a call', async () => {
      await using plugin = await NriPlugin.start('00', 'dies', { CreateContainer: { exit: true } });
      const pod = await runPod(cri, 'survives');
      await startIn(cri, pod, idleSpec('a', image()));
      assert.equal(await plugin.ended, 3);
    });

    test('one that is stopped by a signal holds up what it is asked, once', async () => {
      const plugin = await NriPlugin.start('00', 'frozen');
      await using _ = plugin;
      plugin.signal('SIGSTOP');
      const startedAt = performance.now();
      const pod = await runPod(cri, 'thaws');
      await startIn(cri, pod, idleSpec('a', image()));
      await removePod(cri, pod.id);
      const seconds = (performance.now() - startedAt) / 1000;
      assert.ok(seconds > requestTimeoutSeconds, `it was asked: ${seconds} s`);
    });
  });

  describe('plugins that are installed on the node', { skip }, () => {
    test('start with the daemon, with their name and their configuration, and end with it', async () => {
      const directory = '/opt/nri/plugins';
      mkdirSync(directory, { recursive: true });
      mkdirSync('/etc/nri/conf.d', { recursive: true });
      const log = join(node.directory, 'installed.log');
      const program = join(node.directory, 'nri-plugin');
      copyFileSync(nriPluginProgram(), program);
      chmodSync(program, 0o755);
      // What it prints goes to nowhere by itself.
      writeFileSync(`${directory}/07-installed`, `#!/bin/sh\nexec ${program} > ${log}\n`, { mode: 0o755 });
      writeFileSync(`${directory}/README`, 'no plugin');
      writeFileSync(`${directory}/08-open`, '#!/bin/sh\n', { mode: 0o755 });
      chmodSync(`${directory}/08-open`, 0o777);
      writeFileSync('/etc/nri/conf.d/installed.conf', 'colour: blue\n');
      const told = (): Told[] =>
        readFileSync(log, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as Told);
      await node.daemon.stop();
      await node.daemon.startAgain();
      assert.equal(told().find(({ event }) => event === 'Configure')?.config, 'colour: blue\n');
      assert.match(node.daemon.log, /"plugins":\["07-installed"\]/);
      assert.match(node.daemon.log, /08-open.*others than root may write/);
      const pod = await runPod(cri, 'with-installed');
      await eventually('its event', () => told().find(({ event }) => event === 'RunPodSandbox'));
      await removePod(cri, pod.id);
      for (const name of ['07-installed', '08-open', 'README']) writeFileSync(`${directory}/${name}`, '');
      chmodSync(`${directory}/07-installed`, 0o600);
      chmodSync(`${directory}/08-open`, 0o600);
      await node.daemon.stop();
      await eventually('its end', () =>
        told().some(({ event }) => event === 'Shutdown') ? true : undefined,
      );
      await node.daemon.startAgain();
    });
  });
});
