// test-host: host
// test-minutes: 15
/**
 * The machine loses power in the middle of pulls and pod starts, and starts again on the same disk. GANTRY_POWER_CUTS says how
 * often (1).
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitMachineDied } from '../../hack/lib/vm-exit-status.ts';
import { missingImageSources } from './engine/images.ts';

const cuts = Number(process.env['GANTRY_POWER_CUTS'] ?? 1);
/** Of the work after which the power goes: a pull and a pod take some seconds there. */
const cutWithinMs = 8000;
const switchedOff = 128;
const root = join(import.meta.dirname, '../..');
const missing = [...missingImageSources(), 'dist/main.js'].filter((path) => !existsSync(path));
const skip = missing.length === 0 ? false : `this machine lacks ${missing.join(', ')}`;

const maxDeaths = 2;

interface Boot {
  readonly output: readonly string[];
  readonly exitCode: number | null;
}

/** Boots on the disk. A machine that dies by itself, as emulation does now and then, has lost its power too: it boots again. */
async function boot(...args: Parameters<typeof bootOnce>): Promise<Boot> {
  for (let deaths = 0; ; deaths += 1) {
    const ended = await bootOnce(...args);
    if (ended.exitCode !== exitMachineDied || deaths === maxDeaths) return ended;
  }
}

/** `onWorking` is called when work is under way. */
async function bootOnce(
  disk: string,
  mode: 'work' | 'last',
  onWorking: (cut: () => void) => void,
): Promise<Boot> {
  const program = ['node', '--liftoff-only', 'test/fixtures/power-loss.ts', mode];
  const child = spawn('hack/vm', ['--disk', disk, '--disk-size', '2G', '--timeout', '400', ...program], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      if (line === 'working') onWorking(() => child.kill('SIGTERM'));
    });
  }
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { output, exitCode };
}

test('a node that lost power while it pulled and started pods comes up clean', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-power-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const disk = join(directory, 'disk');
  for (let round = 0; round < cuts; round += 1) {
    const { output, exitCode } = await boot(disk, 'work', (cut) => {
      const afterMs = randomInt(cutWithinMs);
      t.diagnostic(`cut ${round + 1}: ${afterMs} ms after the work began`);
      void sleep(afterMs).then(cut);
    });
    assert.equal(exitCode, switchedOff, output.join('\n'));
  }
  const { output, exitCode } = await boot(disk, 'last', () => undefined);
  assert.equal(exitCode, 0, output.join('\n'));
  assert.ok(output.some((line) => /^judged \d+ pods and \d+ containers$/.test(line)));
  assert.ok(output.includes('spoiled twice'));
});
