// test-minutes: 10
/** The daemon is killed and started again while containers run: they go on, and it takes them up again. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CriClient } from './engine/cri-client.ts';
import { criSocket } from './engine/daemon.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  logOf,
  pidOf,
  pull,
  removeAllPods,
  removePod,
  runPod,
  startIn,
  type StartedPod,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';
import { findProcesses, isRunning, monitorOf } from './engine/processes.ts';
import { withDaemon } from './engine/restarted.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually } from './engine/wait.ts';
import type { ContainerStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? false;

describe('the daemon killed and started again', { skip }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;
  let signals = '';

  before(async () => {
    node = await startTestNode();
    cri = new CriClient();
    await pull(cri, node.images.busybox);
    signals = join(node.directory, 'signals');
    mkdirSync(signals);
    empty = nodeState();
  });
  after(async () => {
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  const crash = async (meanwhile: () => void | Promise<void> = () => undefined): Promise<void> => {
    await node.daemon.kill();
    await meanwhile();
    await node.daemon.startAgain();
  };
  /** A container that runs `command` once the file `<name>` has appeared below `signals`. */
  const waiting = (name: string, command: string, more: Readonly<Record<string, unknown>> = {}) =>
    containerSpec(name, node.images.busybox, {
      command: ['sh', '-c', `while [ ! -e /signals/${name} ]; do sleep 0.05; done; ${command}`],
      mounts: [{ hostPath: signals, containerPath: '/signals', readonly: true }],
      ...more,
    });
  const tell = (name: string): void => writeFileSync(join(signals, name), '');
  const assertEmpty = async (): Promise<void> => await assertNothingLeft(withDaemon(empty, node.daemon.pid));

  describe('while containers run', () => {
    let pod: StartedPod;
    const ids = { ticker: '', brief: '', hungry: '', made: '', ended: '', asked: '' };
    const statuses = new Map<string, ContainerStatus>();
    const pids = new Map<string, number>();
    let tickerLog = '';

    before(async () => {
      pod = await runPod(cri, 'survivor');
      const ticks = 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done';
      ids.ticker = await startIn(
        cri,
        pod,
        containerSpec('ticker', node.images.busybox, { command: ['sh', '-c', ticks] }),
      );
      ids.brief = await startIn(cri, pod, waiting('brief', 'echo done; exit 7'));
      ids.hungry = await startIn(
        cri,
        pod,
        waiting('hungry', 'exec dd if=/dev/zero of=/dev/null bs=200M count=1', {
          linux: { resources: { memoryLimitInBytes: 33554432, memorySwapLimitInBytes: 33554432 } },
        }),
      );
      ids.asked = await startIn(cri, pod, waiting('asked', 'echo heard; exit 0'));
      ids.made = await createIn(cri, pod, idleSpec('made', node.images.busybox));
      ids.ended = await startIn(
        cri,
        pod,
        containerSpec('ended', node.images.busybox, { command: ['sh', '-c', 'exit 3'] }),
      );
      await untilState(cri, ids.ended, 'CONTAINER_EXITED');
      for (const id of Object.values(ids)) statuses.set(id, await statusOf(cri, id));
      for (const id of [ids.ticker, ids.brief, ids.hungry, ids.asked]) pids.set(id, await pidOf(cri, id));
      tickerLog = statuses.get(ids.ticker)?.logPath ?? '';
    });
    after(async () => await removeAllPods(cri));

    test('they go on without it, and so do their logs', async () => {
      await crash(async () => {
        const lines = logOf(tickerLog).length;
        await eventually('more of the log', () => logOf(tickerLog).length > lines + 5 || undefined);
        for (const [id, pid] of pids) assert.ok(isRunning(pid), id);
        tell('brief');
        tell('hungry');
        for (const id of [ids.brief, ids.hungry])
          await eventually('its end', () => !isRunning(pids.get(id) ?? 0) || undefined);
        assert.ok(existsSync(criSocket), 'a stale socket is left, for the next daemon to take');
      });
    });

    test('the lists are as they were', async () => {
      assert.deepEqual(await listPods(cri).then((pods) => pods.map(({ id, state }) => [id, state])), [
        [pod.id, 'SANDBOX_READY'],
      ]);
      const listed = new Map((await listContainers(cri)).map(({ id, state }) => [id, state]));
      assert.deepEqual([...listed.keys()].toSorted(), Object.values(ids).toSorted());
      assert.equal(listed.get(ids.ticker), 'CONTAINER_RUNNING');
      assert.equal(listed.get(ids.made), 'CONTAINER_CREATED');
      assert.equal(listed.get(ids.ended), 'CONTAINER_EXITED');
    });

    test('statuses are as they were', async () => {
      for (const id of [ids.ticker, ids.asked, ids.made, ids.ended])
        assert.deepEqual(await statusOf(cri, id), statuses.get(id));
      assert.equal(await pidOf(cri, ids.ticker), pids.get(ids.ticker));
    });

    test('what ended meanwhile has its exit code and its reason, also for want of memory (containerd issue 6771)', async () => {
      const brief = await untilState(cri, ids.brief, 'CONTAINER_EXITED');
      assert.deepEqual([brief.exitCode, brief.reason, brief.message], [7, 'Error', '']);
      assert.equal(brief.startedAt, statuses.get(ids.brief)?.startedAt);
      assert.ok(BigInt(brief.finishedAt) > BigInt(brief.startedAt));
      assert.deepEqual(logOf(brief.logPath), ['done']);
      const hungry = await untilState(cri, ids.hungry, 'CONTAINER_EXITED');
      assert.deepEqual([hungry.exitCode, hungry.reason], [137, 'OOMKilled']);
    });

    test('the log has no gap', async () => {
      const before = logOf(tickerLog).length;
      await eventually('more of the log', () => logOf(tickerLog).length > before + 5 || undefined);
      const lines = logOf(tickerLog);
      assert.deepEqual(
        lines,
        lines.map((_line, index) => `tick ${index + 1}`),
      );
    });

    test('exec, stats and a new container work', async () => {
      assert.deepEqual(await exec(cri, ids.ticker, 'sh', '-c', 'hostname; exit 4'), {
        stdout: 'survivor',
        exitCode: 4,
      });
      const { stats } = await cri.call<{
        stats: {
          cpu: { usageCoreNanoSeconds: { value: string } };
          memory: { workingSetBytes: { value: string } };
        };
      }>('ContainerStats', { containerId: ids.ticker });
      assert.ok(BigInt(stats.cpu.usageCoreNanoSeconds.value) > 0n);
      assert.ok(BigInt(stats.memory.workingSetBytes.value) > 0n);
      await cri.call('StartContainer', { containerId: ids.made });
      assert.equal((await exec(cri, ids.made, 'true')).exitCode, 0);
      await startIn(cri, pod, idleSpec('later', node.images.busybox));
    });

    test('attach shows what a container writes', async () => {
      const { url } = await cri.call<{ url: string }>('Attach', { containerId: ids.ticker, stdout: true });
      const socket = new WebSocket(url.replace(/^http/, 'ws'), 'v5.channel.k8s.io');
      socket.binaryType = 'arraybuffer';
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      let text = '';
      socket.addEventListener('error', () => reject(new Error(`attach to ${url} failed: ${text}`)));
      socket.addEventListener('close', () => reject(new Error(`attach ended: ${text}`)));
      socket.addEventListener('message', ({ data }) => {
        const bytes = Buffer.from(data as ArrayBuffer);
        if (bytes[0] === 1) text += bytes.subarray(1).toString();
        if (/tick \d+\n/.test(text)) resolve();
      });
      await promise.finally(() => socket.close());
    });

    test('an end after the restart is seen, and a stop works', async () => {
      tell('asked');
      const asked = await untilState(cri, ids.asked, 'CONTAINER_EXITED');
      assert.deepEqual([asked.exitCode, asked.reason, logOf(asked.logPath)], [0, 'Completed', ['heard']]);
      await cri.call('StopContainer', { containerId: ids.made, timeout: '20' });
      const made = await statusOf(cri, ids.made);
      assert.deepEqual([made.state, made.exitCode], ['CONTAINER_EXITED', 0]);
    });

    test('an orderly stop leaves them running as well', async () => {
      assert.equal(await node.daemon.stop(), 0);
      assert.ok(isRunning(pids.get(ids.ticker) ?? 0));
      await node.daemon.startAgain();
      assert.equal((await statusOf(cri, ids.ticker)).state, 'CONTAINER_RUNNING');
    });

    test('everything is removed as ever', async () => {
      await removeAllPods(cri);
      await assertEmpty();
    });
  });

  test('the process of an ExecSync whose daemon died is ended', async () => {
    const pod = await runPod(cri, 'abandoned');
    const id = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
    const pending = exec(cri, id, 'sleep', '4711').catch((error: unknown) => error);
    await eventually('the exec', () => findProcesses(/^sleep 4711 /).length > 0 || undefined);
    await crash();
    await pending;
    await eventually('its end', () => findProcesses(/sleep 4711 /).length === 0 || undefined);
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
    await removePod(cri, pod.id);
    await assertEmpty();
  });

  for (const isDown of [false, true]) {
    test(`a container whose monitor was killed ${isDown ? 'while the daemon was down' : ''} runs on, and its end says why its code is unknown`, async () => {
      const pod = await runPod(cri, 'unmonitored');
      const id = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
      const pid = await pidOf(cri, id);
      const killMonitor = (): void => void process.kill(monitorOf(id), 'SIGKILL');
      await (isDown ? crash(killMonitor) : killMonitor());
      assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
      assert.ok(isRunning(pid));
      process.kill(pid, 'SIGKILL');
      const status = await untilState(cri, id, 'CONTAINER_EXITED');
      assert.deepEqual([status.exitCode, status.reason], [255, 'ContainerStatusUnknown']);
      assert.match(status.message, /monitor process died before the container/);
      await removePod(cri, pod.id);
      await assertEmpty();
    });
  }

  test('a container that was started but not yet recorded so is running', async () => {
    const pod = await runPod(cri, 'half-started');
    const id = await createIn(cri, pod, idleSpec('idle', node.images.busybox));
    await crash(() => void execFileSync('crun', ['--root=/run/gantry/runtime/crun', 'start', id]));
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
    assert.equal((await exec(cri, id, 'true')).exitCode, 0);
    await removePod(cri, pod.id);
    await assertEmpty();
  });
});
