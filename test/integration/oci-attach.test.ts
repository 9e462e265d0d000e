import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { attachToMonitor, type MonitorStreams } from '../../src/oci/attach.ts';
import { TerminalResizer } from '../../src/oci/monitor-control.ts';
import { createContainer, type CreateContainerArgs } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

describe('attaching to a container', { timeout: 60_000 }, () => {
  let fixture: OciFixture;
  before(async () => {
    fixture = await makeOciFixture();
  });
  after(async () => {
    await fixture[Symbol.asyncDispose]();
  });

  async function attached(
    id: string,
    script: string,
    more: Partial<CreateContainerArgs>,
  ): Promise<MonitorStreams> {
    const terminal = more.terminal ?? false;
    const bundle = fixture.bundle(id, ['sh', '-c', script], (spec) => ({
      ...spec,
      process: { ...spec.process, terminal },
    }));
    await createContainer(fixture.deps, {
      id,
      bundle,
      terminal,
      stdin: 'none',
      logPath: join(bundle, 'log'),
      ...more,
    });
    const streams = await attachToMonitor(fixture.deps, { directory: bundle });
    await startContainer(fixture.deps, { id });
    return streams;
  }

  async function exitCode(id: string): Promise<number> {
    const file = join(fixture.exitDirectory, id);
    while (!existsSync(file) || readFileSync(file, 'utf8') === '')
      await new Promise((resolve) => setImmediate(resolve));
    await deleteContainer(fixture.deps, { id, hasEnded: false });
    return Number(readFileSync(file, 'utf8'));
  }

  test('both outputs come apart, and end with the container', async () => {
    const streams = await attached('outputs', 'echo one; echo two >&2; exit 3', {});
    assert.deepEqual(await Promise.all([text(streams.stdout), text(streams.stderr)]), ['one\n', 'two\n']);
    assert.equal(await exitCode('outputs'), 3);
  });

  test('input goes in, its end too, and much of both arrives whole', async () => {
    const streams = await attached('input', 'wc -c; cat /dev/zero | head -c 5000000', {
      stdin: 'until-first-detach',
    });
    streams.stderr.resume();
    const seen = text(streams.stdout);
    streams.stdin.end(Buffer.alloc(3_000_000, 'x'));
    const output = await seen;
    assert.equal(output.slice(0, 8), '3000000\n');
    assert.equal(output.length, 8 + 5_000_000);
    assert.equal(await exitCode('input'), 0);
  });

  test('stdin that stays open survives one client and serves the next', async () => {
    const first = await attached('twice', 'read a; echo got $a; read b; echo got $b', { stdin: 'open' });
    first.stderr.resume();
    first.stdin.write('uno\n');
    await firstLine(first.stdout, 'got uno\n');
    first.close();
    const second = await attachToMonitor(fixture.deps, {
      directory: join(fixture.directory, 'bundles/twice'),
    });
    second.stderr.resume();
    second.stdin.write('dos\n');
    assert.equal(await text(second.stdout), 'got dos\n');
    assert.equal(await exitCode('twice'), 0);
  });

  test('a terminal echoes and takes its size', async () => {
    const streams = await attached('terminal', 'read a; stty size', { terminal: true, stdin: 'open' });
    streams.stderr.resume();
    using resizer = new TerminalResizer(join(fixture.directory, 'bundles/terminal'));
    resizer.resize({ columns: 90, rows: 40 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    streams.stdin.write('go\n');
    assert.match(await text(streams.stdout), /^go\r\n40 90\r\n$/);
    assert.equal(await exitCode('terminal'), 0);
    resizer.resize({ columns: 1, rows: 1 });
  });

  test('there is nothing to attach to when the container has ended', async () => {
    await assert.rejects(
      attachToMonitor(fixture.deps, { directory: join(fixture.directory, 'bundles/terminal') }),
      {
        code: /ENOENT|ECONNREFUSED/,
      },
    );
  });
});

async function firstLine(stream: Readable, wanted: string): Promise<void> {
  let seen = '';
  while (!seen.includes('\n')) {
    await new Promise<void>((resolve) => {
      stream.once('data', (chunk: Buffer) => {
        seen += chunk.toString();
        resolve();
      });
    });
  }
  assert.equal(seen, wanted);
}
