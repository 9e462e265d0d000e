import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { execPlugin, PluginVersions } from './exec-plugin.ts';
import { PluginScripts } from './testing/plugin-scripts.ts';

const add = {
  command: 'ADD',
  type: 'net',
  config: { cniVersion: '1.0.0', name: 'n', type: 'net' },
  containerId: 'pod1',
} as const;
const options = (scripts: PluginScripts, timeoutMs = 20_000) => ({ binDirs: [scripts.directory], timeoutMs });

test('a plugin is told by its environment and its standard input', async () => {
  using scripts = new PluginScripts('net');
  const call = {
    ...add,
    netnsPath: '/run/ns',
    ifName: 'eth0',
    args: { IgnoreUnknown: '1', K8S_POD_NAME: 'web' },
  };
  await execPlugin({ binDirs: ['/nowhere', scripts.directory], timeoutMs: 20_000 }, call);
  assert.deepEqual(scripts.environment('net', 'ADD'), [
    'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web',
    'CNI_COMMAND=ADD',
    'CNI_CONTAINERID=pod1',
    'CNI_IFNAME=eth0',
    'CNI_NETNS=/run/ns',
    `CNI_PATH=/nowhere:${scripts.directory}`,
  ]);
  assert.deepEqual(scripts.request('net', 'ADD'), add.config);
});

test('a missing plugin is named with the directories that were searched', async () => {
  const call = execPlugin({ binDirs: ['/opt/none', '/usr/none'], timeoutMs: 1000 }, add);
  await assert.rejects(call, {
    kind: 'failed-precondition',
    plugin: 'net',
    message: /plugin net is not in \/opt\/none, \/usr\/none/,
  });
});

test('what a faulty plugin does becomes an error with its name and its words', async (t) => {
  using scripts = new PluginScripts('net');
  const cases: readonly (readonly [string, string, object])[] = [
    [
      'garbage',
      'echo hello; exit 0',
      { kind: 'internal', message: /net, ADD of pod1: its output is not JSON: .*hello/ },
    ],
    [
      'many values',
      `echo '{"ips":['; yes '1,' | head -100000; echo '1]}'`,
      {
        kind: 'internal',
        message: /net, ADD of pod1: its output is of \d{6} brackets and commas, more than /,
      },
    ],
    [
      'error document',
      `echo '{"cniVersion":"1.0.0","code":7,"msg":"bad key","details":"foo"}'; exit 1`,
      { kind: 'failed-precondition', pluginCode: 7, message: /bad key \(foo\), code 7/ },
    ],
    [
      'try again later',
      `echo '{"code":11,"msg":"busy"}'; exit 1`,
      { kind: 'unavailable', pluginCode: 11, message: /busy/ },
    ],
    [
      'exit code alone',
      'echo no bridge >&2; exit 3',
      { kind: 'internal', pluginCode: undefined, message: /exit code 3: no bridge/ },
    ],
    ['signal', 'kill -9 $$', { kind: 'internal', message: /ended by SIGKILL/ }],
    ['endless output', 'cat /dev/zero', { kind: 'internal', message: /wrote more than 1048576 bytes/ }],
  ];
  for (const [name, shell, expected] of cases) {
    await t.test(name, async () => {
      scripts.on('net', 'ADD', shell);
      await assert.rejects(execPlugin(options(scripts), add), { plugin: 'net', ...expected });
    });
  }
});

test('a plugin that hangs is killed when its time is over', async () => {
  using scripts = new PluginScripts('net');
  scripts.on('net', 'ADD', 'sleep 1000; exit 0');
  await assert.rejects(execPlugin(options(scripts, 200), add), {
    kind: 'deadline-exceeded',
    message: /net, ADD of pod1: .*did not end within 200 ms/,
  });
});

test('a cancelled request ends the plugin', async () => {
  using scripts = new PluginScripts('net');
  scripts.on('net', 'ADD', 'sleep 1000; exit 0');
  const controller = new AbortController();
  const call = execPlugin(options(scripts), add, controller.signal);
  controller.abort(new Error('client left'));
  await assert.rejects(call, /client left/);
});

test('versions are asked once per program and again when its file changes', async () => {
  using scripts = new PluginScripts('net');
  const versions = new PluginVersions();
  assert.deepEqual(await versions.of(options(scripts), 'net'), ['0.4.0', '1.0.0', '1.1.0']);
  await versions.of(options(scripts), 'net');
  assert.deepEqual(scripts.calls(), ['VERSION net']);
  writeFileSync(join(scripts.directory, 'net'), `#!/bin/sh\necho '{"supportedVersions":["0.3.1"]}'\n`, {
    mode: 0o755,
  });
  assert.deepEqual(await versions.of(options(scripts), 'net'), ['0.3.1']);
});
