/** Plugins that hang or die: requests go on without them, and none of them stops the node. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { describeNode } from './engine/describe-node.ts';
import { NriPlugin, nriPluginProgram, nriPluginSkipReason, type Told } from './engine/nri-plugin.ts';
import { removePod, runPod, startIn } from './engine/pod-steps.ts';
import { idleSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const skip = nriPluginSkipReason() ?? false;
const requestTimeoutSeconds = 3;
const toml = `[nri]\nplugin_request_timeout_seconds = ${requestTimeoutSeconds}\n`;

describeNode('NRI faults', { toml, isEmptiedAfterEach: true, timeoutMs: 300_000 }, ({ cri, node }) => {
  const image = (): string => node.images.busybox;

  describe('plugins that hang or die', { skip }, () => {
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
        // The log is that of all tests: each looks for its own line.
        const told = `${event.charAt(0).toLowerCase()}${event.slice(1)}`;
        const line = new RegExp(
          `"plugin":"00-hung-${event}","event":"${told}","reason":"[A-Za-z]+: no answer within 3000 ms"`,
        );
        await eventually('the daemon saying so', () => (line.test(node.daemon.log) ? true : undefined));
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
      const disconnected = node.daemon.log
        .split('\n')
        .filter((line) => line.includes('"plugin":"00-frozen"') && line.includes('is disconnected'));
      assert.equal(disconnected.length, 1, disconnected.join('\n'));
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
