import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { closeSync, readSync, readdirSync, writeSync } from 'node:fs';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { createPipe } from './pipe.ts';
import { Poller } from './poll.ts';

const execute = promisify(execFile);

function drain(fd: number): string {
  const buffer = Buffer.alloc(100);
  return buffer.toString('latin1', 0, readSync(fd, buffer));
}

async function untilWritable(poller: Poller, fd: number): Promise<void> {
  const ready = Promise.withResolvers<void>();
  using _watch = poller.watch(fd, 'write', () => ready.resolve());
  await ready.promise;
}

describe('Poller', () => {
  test('reports each readable descriptor until its watch is disposed of', async () => {
    await using poller = new Poller();
    const pipes = Array.from({ length: 20 }, createPipe);
    const texts: string[] = [];
    const all = Promise.withResolvers<void>();
    const watches = pipes.map((pipe) =>
      poller.watch(pipe.read, 'read', () => {
        texts.push(drain(pipe.read));
        if (texts.length === 40) all.resolve();
      }),
    );
    for (const [index, pipe] of pipes.entries()) writeSync(pipe.write, `a${index}`);
    while (texts.length < 20) await new Promise((resolve) => setImmediate(resolve));
    for (const [index, pipe] of pipes.entries()) writeSync(pipe.write, `b${index}`);
    await all.promise;
    assert.equal(new Set(texts).size, 40);
    for (const watch of watches) watch[Symbol.dispose]();
    for (const pipe of pipes) {
      closeSync(pipe.read);
      closeSync(pipe.write);
    }
  });

  test('a descriptor that stays ready is reported again and again; a disposed watch is silent', async () => {
    await using poller = new Poller();
    const pipe = createPipe();
    writeSync(pipe.write, 'x');
    let calls = 0;
    const third = Promise.withResolvers<void>();
    const watch = poller.watch(pipe.read, 'read', () => {
      calls += 1;
      if (calls === 3) {
        watch[Symbol.dispose]();
        third.resolve();
      }
    });
    await third.promise;
    await untilWritable(poller, pipe.write);
    assert.equal(calls, 3);
    closeSync(pipe.read);
    closeSync(pipe.write);
  });

  test('two watches of one descriptor, and the hang-up of the other end', async () => {
    await using poller = new Poller();
    const pipe = createPipe();
    const seen: string[] = [];
    const both = Promise.withResolvers<void>();
    const once = (name: string): Disposable => {
      const watch = poller.watch(pipe.read, 'read', () => {
        seen.push(name);
        watch[Symbol.dispose]();
        if (seen.length === 2) both.resolve();
      });
      return watch;
    };
    once('first');
    once('second');
    closeSync(pipe.write);
    await both.promise;
    assert.deepEqual(seen.toSorted(), ['first', 'second']);
    closeSync(pipe.read);
  });

  test('a descriptor closed before its watch is disposed of does no harm; its number can be watched again', async () => {
    await using poller = new Poller();
    // A thread that is still starting opens files itself and may take the number in between.
    const old = createPipe();
    await untilWritable(poller, old.write);
    const stale = poller.watch(old.read, 'read', () => assert.fail('closed'));
    closeSync(old.read);
    stale[Symbol.dispose]();
    const fresh = createPipe();
    assert.equal(fresh.read, old.read);
    const ready = Promise.withResolvers<void>();
    using _watch = poller.watch(fresh.read, 'read', () => ready.resolve());
    writeSync(fresh.write, 'x');
    await ready.promise;
    for (const fd of [old.write, fresh.read, fresh.write]) closeSync(fd);
  });

  test('disposing ends the thread, gives back every descriptor, and may be done twice', async () => {
    await using warm = new Poller();
    await warm[Symbol.asyncDispose]();
    const before = readdirSync('/proc/self/fd').length;
    const threads = readdirSync('/proc/self/task').length;
    const poller = new Poller();
    const pipe = createPipe();
    const watch = poller.watch(pipe.read, 'read', () => {});
    await Promise.all([poller[Symbol.asyncDispose](), poller[Symbol.asyncDispose]()]);
    watch[Symbol.dispose]();
    assert.throws(() => poller.watch(pipe.read, 'read', () => {}), /the poller has ended/);
    closeSync(pipe.read);
    closeSync(pipe.write);
    assert.equal(readdirSync('/proc/self/fd').length, before);
    assert.equal(readdirSync('/proc/self/task').length, threads);
  });

  for (const [name, script] of [
    ['a process ends by itself with a poller that watches nothing', 'new Poller();'],
    [
      'process.exit ends it while something is watched',
      // Its thread has started when it calls: Node cannot exit in the middle of a thread's loading of native code.
      'const p = new Poller(); const w = p.watch(1, "write", () => { w[Symbol.dispose](); p.watch(0, "read", () => {}); process.exit(); });',
    ],
    [
      'a watch keeps it alive until disposed of',
      'const w = new Poller().watch(1, "write", () => { w[Symbol.dispose](); console.log("called"); });',
    ],
  ] as const) {
    test(name, async () => {
      const code = `import { Poller } from ${JSON.stringify(new URL('./poll.ts', import.meta.url).href)}; ${script}`;
      const running = execute(process.execPath, ['--input-type=module', '-e', code], { timeout: 20_000 });
      const { stdout } = await running;
      assert.equal(stdout, script.includes('called') ? 'called\n' : '');
    });
  }
});
