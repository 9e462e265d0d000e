import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

/** In a process and mount namespace of its own: its end closes the FUSE server and takes the mount away. */
const program = `
  import { openSync } from 'node:fs';
  const load = async (name) => await import(new URL(name, process.env.BASE));
  const { enterPrivateMounts } = await load('private-mounts.ts');
  const { mount } = await load('mount.ts');
  const { PathWorkers } = await load('path-worker.ts');
  process.on('exit', () => console.log('other listeners ran'));
  enterPrivateMounts();
  const fuse = openSync('/dev/fuse', 'r+');
  const data = 'fd=' + fuse + ',rootmode=40000,user_id=0,group_id=0';
  mount({ source: 'never', target: process.env.TARGET, fstype: 'fuse', data });
  {
    await using workers = new PathWorkers();
    // Its thread runs by then, so that the call does reach the kernel before the deadline.
    await workers.call('stat', { path: '/' }, 20_000);
    const path = process.env.TARGET + '/x';
    await workers.call('stat', { path }, 500).catch((error) => console.log(error.kind));
    console.log(workers.stuckPaths.length);
  }
  END
`;

for (const [how, end] of [
  ['by itself', 'process.exitCode = 3;'],
  ['by process.exit', 'process.exit(3);'],
] as const) {
  test(`a process with a hung thread ends ${how}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'gantry-exit-'));
    const file = join(directory, 'program.mjs');
    const target = join(directory, 'hung');
    try {
      mkdirSync(target);
      writeFileSync(file, program.replace('END', end));
      const { status, signal, stdout } = spawnSync(process.execPath, [file], {
        env: { ...process.env, BASE: import.meta.url, TARGET: target },
        encoding: 'utf8',
        timeout: 30_000,
        killSignal: 'SIGKILL',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      assert.deepEqual({ status, signal }, { status: 3, signal: null });
      assert.equal(stdout, 'deadline-exceeded\n1\nother listeners ran\n');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}
