import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isKind } from '../../src/lib/errors.ts';
import { signalProcess } from '../../src/linux/pidfd.ts';
import { type ContainerExit, ExitWatcher } from '../../src/oci/exits.ts';
import { reopenLog } from '../../src/oci/monitor-control.ts';
import {
  createContainer,
  type CreateContainerArgs,
  type MonitoredContainer,
  WaitingMonitor,
} from '../../src/oci/monitor.ts';
import {
  containerState,
  deleteContainer,
  pauseContainer,
  resumeContainer,
  startContainer,
  updateContainer,
} from '../../src/oci/runtime.ts';
import { makeOciFixture, type OciFixture } from './oci-fixture.ts';

describe('a container under conmon', { timeout: 60_000 }, () => {
  let fixture: OciFixture;
  before(async () => {
    fixture = await makeOciFixture();
  });
  after(async () => {
    await fixture[Symbol.asyncDispose]();
  });

  async function create(
    id: string,
    args: readonly string[],
    more: Partial<CreateContainerArgs> = {},
  ): Promise<MonitoredContainer> {
    const bundle = fixture.bundle(id, args);
    return await createContainer(fixture.deps, {
      id,
      bundle,
      logPath: join(bundle, 'log'),
      terminal: false,
      stdin: 'none',
      ...more,
    });
  }

  function nextExit(watcher: ExitWatcher, id: string): Promise<ContainerExit> {
    return new Promise((resolve) => {
      watcher.exits.subscribe((exit) => {
        if (exit.id === id) resolve(exit);
      });
    });
  }

  function newWatcher(): ExitWatcher {
    return new ExitWatcher(
      { poller: fixture.deps.poller, onError: (error) => assert.fail(String(error)) },
      fixture.exitDirectory,
    );
  }

  test('runs, logs in the CRI format and its exit code arrives', async () => {
    using watcher = newWatcher();
    watcher.start();
    const container = await create('runs', ['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual(fixture.placed.at(-1), container.monitor.pid);
    assert.equal((await containerState(fixture.deps, { id: 'runs' }))?.status, 'created');
    assert.ok(readdirSync(fixture.deps.runtime.root).includes('runs'));
    const exit = nextExit(watcher, 'runs');
    watcher.track('runs', container);
    await startContainer(fixture.deps, { id: 'runs' });
    const { exitCode, finishedAtMs, lostReason } = await exit;
    assert.equal(exitCode, 7);
    assert.equal(lostReason, undefined);
    assert.ok(finishedAtMs > 1_600_000_000_000);
    const lines = readFileSync(join(fixture.directory, 'bundles/runs/log'), 'utf8')
      .trim()
      .split('\n')
      .toSorted();
    assert.match(lines.find((line) => line.includes('stdout')) ?? '', /^\d{4}-\S+ stdout F out$/);
    assert.match(lines.find((line) => line.includes('stderr')) ?? '', /^\d{4}-\S+ stderr F err$/);
    await deleteContainer(fixture.deps, { id: 'runs', hasEnded: true });
    await deleteContainer(fixture.deps, { id: 'runs', hasEnded: false });
    assert.equal(await containerState(fixture.deps, { id: 'runs' }), undefined);
    watcher.forget('runs');
    assert.deepEqual(readdirSync(fixture.exitDirectory), []);
  });

  test('containerd#6771, containerd#4297: an end while nobody watched is found by the next watcher, once', async () => {
    const container = await create('unseen', ['sh', '-c', 'exit 3']);
    await startContainer(fixture.deps, { id: 'unseen' });
    while (!existsSync(join(fixture.exitDirectory, 'unseen')))
      await new Promise((resolve) => setImmediate(resolve));
    using watcher = newWatcher();
    const exits: ContainerExit[] = [];
    watcher.exits.subscribe((exit) => exits.push(exit));
    const exit = nextExit(watcher, 'unseen');
    watcher.start();
    watcher.track('unseen', container);
    assert.equal((await exit).exitCode, 3);
    await deleteContainer(fixture.deps, { id: 'unseen', hasEnded: false });
    assert.equal(exits.length, 1);
    watcher.forget('unseen');
  });

  test('a container outlives its conmon, and its end is reported as lost', async () => {
    using watcher = newWatcher();
    watcher.start();
    const container = await create('orphan', ['sleep', '1000']);
    const exit = nextExit(watcher, 'orphan');
    watcher.track('orphan', container);
    await startContainer(fixture.deps, { id: 'orphan' });
    assert.ok(signalProcess(identity(container.monitor), 'SIGKILL'));
    assert.ok(signalProcess(identity(container.process), 0));
    assert.ok(signalProcess(identity(container.process), 'SIGKILL'));
    const { exitCode, lostReason } = await exit;
    assert.equal(exitCode, 255);
    assert.match(lostReason ?? '', /monitor process died/);
    await deleteContainer(fixture.deps, { id: 'orphan', hasEnded: false });
  });

  test("a missing executable is told in the runtime's words, and nothing is left", async () => {
    await assert.rejects(create('missing', ['no-such-program']), (error: Error) => {
      assert.ok(isKind(error, 'failed-precondition'), String(error));
      assert.match(error.message, /create container missing: .*no-such-program.*not found in \$PATH/);
      return true;
    });
    assert.ok(!readdirSync(fixture.deps.runtime.root).includes('missing'));
    const monitor = fixture.placed.at(-1) ?? 0;
    assert.equal(existsSync(`/proc/${monitor}`), false);
  });

  test('a log that cannot be opened names itself', async () => {
    await assert.rejects(
      create('nolog', ['true'], { logPath: '/no/such/directory/log' }),
      /create container nolog: .*log/,
    );
    await assert.rejects(create('colon', ['true'], { logPath: '/tmp/a:b' }), { kind: 'invalid-argument' });
  });

  test('an aborted create leaves no monitor and no container', async () => {
    const controller = new AbortController();
    const creating = create('aborted', ['sleep', '1000'], { signal: controller.signal });
    controller.abort(new Error('not wanted'));
    await assert.rejects(creating, /not wanted/);
    assert.equal(existsSync(`/proc/${fixture.placed.at(-1)}`), false);
    assert.ok(!readdirSync(fixture.deps.runtime.root).includes('aborted'));
  });

  for (const [what, isLogged] of [
    ['nothing', false],
    ['the log that was there', true],
  ] as const)
    test(`a monitor that waits in vain leaves ${what}`, async () => {
      const id = `in-vain-${isLogged}`;
      const bundle = fixture.bundle(id, ['sleep', '1000']);
      const logPath = join(bundle, 'log');
      if (isLogged) writeFileSync(logPath, 'of an earlier attempt\n');
      const args = { id, bundle, logPath, terminal: false, stdin: 'none' } as const;
      {
        await using _monitor = new WaitingMonitor(fixture.deps, args);
        while (!existsSync(logPath)) await sleep(1);
      }
      assert.equal(existsSync(`/proc/${fixture.placed.at(-1)}`), false);
      assert.equal(existsSync(logPath), isLogged);
      assert.ok(!readdirSync(fixture.deps.runtime.root).includes(id));
    });

  test('a monitor waits until the bundle is complete', async () => {
    const bundle = fixture.bundle('late', ['true']);
    const [config, hidden] = [join(bundle, 'config.json'), join(bundle, 'hidden')];
    renameSync(config, hidden);
    const args = { id: 'late', bundle, terminal: false, stdin: 'none' } as const;
    await using monitor = new WaitingMonitor(fixture.deps, args);
    await sleep(50);
    renameSync(hidden, config);
    const { process } = await monitor.create();
    assert.equal((await containerState(fixture.deps, { id: 'late' }))?.pid, process.pid);
    await deleteContainer(fixture.deps, { id: 'late', hasEnded: false });
  });

  test('pause, resume, update and log rotation of a running container', async () => {
    using watcher = newWatcher();
    watcher.start();
    const container = await create('busy', [
      'sh',
      '-c',
      'echo one; read x < /dev/null; while true; do sleep 1; done',
    ]);
    const logPath = join(fixture.directory, 'bundles/busy/log');
    await startContainer(fixture.deps, { id: 'busy' });
    await pauseContainer(fixture.deps, { id: 'busy' });
    assert.equal((await containerState(fixture.deps, { id: 'busy' }))?.status, 'paused');
    await resumeContainer(fixture.deps, { id: 'busy' });
    await updateContainer(fixture.deps, {
      id: 'busy',
      resources: { cpu: { shares: 512 }, pids: { limit: 99 } },
    });
    renameSync(logPath, `${logPath}.1`);
    await reopenLog({ directory: join(fixture.directory, 'bundles/busy'), logPath, timeoutMs: 10_000 });
    assert.ok(existsSync(logPath));
    const exit = nextExit(watcher, 'busy');
    watcher.track('busy', container);
    assert.ok(signalProcess(identity(container.process), 'SIGKILL'));
    assert.equal((await exit).exitCode, 137);
    await assert.rejects(
      reopenLog({ directory: join(fixture.directory, 'bundles/busy'), logPath, timeoutMs: 1000 }),
      (error) => isKind(error, 'failed-precondition', 'deadline-exceeded'),
    );
    await deleteContainer(fixture.deps, { id: 'busy', hasEnded: false });
    watcher.forget('busy');
  });
});

function identity(stored: { readonly pid: number; readonly startTicks: string }): {
  pid: number;
  startTicks: bigint;
} {
  return { pid: stored.pid, startTicks: BigInt(stored.startTicks) };
}
