import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../linux/command.ts';
import type { Poller } from '../linux/poll.ts';
import type { Log } from '../telemetry/log.ts';
import { launchPlugins } from './launch.ts';
import { engine } from './testing/engine.ts';

test('a plugin whose configuration is no file that can be read is left out, and holds nobody up', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'gantry-nri-'));
  t.after(() => rmSync(root, { recursive: true }));
  const [directory, configDirectory] = [join(root, 'plugins'), join(root, 'conf.d')];
  for (const each of [directory, configDirectory]) mkdirSync(each);
  for (const name of ['01-fifo', '02-folder', '03-long'])
    writeFileSync(join(directory, name), '#!/bin/sh\n', { mode: 0o755 });
  await runCommand(['mkfifo', join(configDirectory, 'fifo.conf')], { check: true });
  mkdirSync(join(configDirectory, '02-folder.conf'));
  writeFileSync(join(configDirectory, 'long.conf'), '');
  truncateSync(join(configDirectory, 'long.conf'), 2 ** 40);
  const said: string[] = [];
  const log = { error: ({ plugin, error }: Record<string, string>) => said.push(`${plugin}: ${error}`) };
  const { deps } = await engine(t, { log: log as unknown as Log });
  await using stack = new AsyncDisposableStack();
  const options = { directory, configDirectory, poller: undefined as unknown as Poller };
  await launchPlugins(deps, options, stack);
  assert.deepEqual(
    said.map((line) => line.replaceAll(root, '')),
    [
      '01-fifo: /conf.d/fifo.conf: it is not a regular file',
      '02-folder: /conf.d/02-folder.conf: it is not a regular file',
      '03-long: /conf.d/long.conf: it is larger than 1048576 bytes',
    ],
  );
});
