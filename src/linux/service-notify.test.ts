import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { notifyService } from './service-notify.ts';

/** What socat, as the service manager, received first on the socket. */
async function received(address: string, notify: () => void): Promise<string> {
  const child = spawn('socat', ['-u', address, 'STDOUT'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    for (;;) {
      try {
        notify();
        break;
      } catch (error) {
        if (child.exitCode !== null) throw error;
        // socat has not bound the socket yet.
        await sleep(10);
      }
    }
    const [data] = (await once(child.stdout, 'data')) as [Buffer];
    return data.toString();
  } finally {
    if (child.kill()) await once(child, 'exit');
  }
}

test('a state reaches the service manager at a socket file, however long its path', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-notify-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'notify');
  const text = await received(`UNIX-RECV:${path}`, () => notifyService('READY=1', { NOTIFY_SOCKET: path }));
  assert.equal(text, 'READY=1');
});

test('a state reaches the service manager at an abstract socket', async () => {
  const name = `gantry-notify-${process.pid}`;
  const text = await received(`ABSTRACT-RECV:${name}`, () =>
    notifyService('READY=1\nSTATUS=serving', { NOTIFY_SOCKET: `@${name}` }),
  );
  assert.equal(text, 'READY=1\nSTATUS=serving');
});

test('without a service manager nothing happens; one that is gone is an error that names it', () => {
  notifyService('READY=1', {});
  assert.throws(() => notifyService('READY=1', { NOTIFY_SOCKET: '/nonexistent/notify' }), { code: 'ENOENT' });
});
