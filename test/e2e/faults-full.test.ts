// test-minutes: 10
/** Full disks: a clear error, nothing half stored, and what runs can still be asked, stopped and removed. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { errnoOf } from '../../src/lib/errors.ts';
import { mountTmpfs, unmount } from '../../src/linux/mount.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { pushBusyboxVariant } from './engine/images.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  pidOf,
  pull,
  removePod,
  runPod,
  startIn,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';
import type { ImageInfo } from './engine/wire.ts';

const mebibyte = 1024 * 1024;
const places = { root: '/run/small/root', state: '/run/small/state', logs: '/run/small/logs' } as const;
const sizes = { root: 32 * mebibyte, state: 4 * mebibyte, logs: mebibyte } as const;
const toml = `root = "${places.root}"\nstate = "${places.state}"\n[cni]\ncache_dir = "${places.root}/cni"\n`;

function prepare(stack: DisposableStack): void {
  for (const [name, target] of Object.entries(places)) {
    mkdirSync(target, { recursive: true });
    mountTmpfs({ target, sizeBytes: sizes[name as keyof typeof sizes], mode: 0o755 });
    stack.defer(() => unmount(target, { lazy: true }));
  }
}

describeNode('a full disk', { toml, prepare, isEmptiedAfterEach: true }, ({ cri, node }) => {
  test('in a pull: nothing is half stored, and what fits is pulled as ever', async () => {
    // Its answer waits for the trials of a daemon that has just begun, which have files for a moment.
    await cri.call('Status');
    const filesBefore = files(places.root);
    const content = randomBytes(2 * sizes.root);
    const big = await pushBusyboxVariant(node.registry.host, 'library/big', {
      entries: [{ name: 'big', content }],
    });
    const pod = await runPod(cri, 'p');
    const id = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
    await rejectsWith(pull(cri, big), 'RESOURCE_EXHAUSTED', /no space left|ENOSPC/i);
    assert.equal((await exec(cri, id, 'true')).exitCode, 0);
    const { images } = await cri.call<{ images: readonly ImageInfo[] }>('ListImages');
    assert.deepEqual(
      images.flatMap(({ repoTags }) => repoTags),
      [node.images.busybox],
    );
    await removePod(cri, pod.id);
    await eventually(
      'the same files',
      () => filesNow(places.root)?.join() === filesBefore.join() || undefined,
    );
    const small = await pushBusyboxVariant(node.registry.host, 'library/small', {
      entries: [{ name: 'small', content: 'small' }],
    });
    const smallId = await pull(cri, small);
    await cri.call('RemoveImage', { image: { image: smallId } });
  });

  for (const place of ['root', 'state'] as const) {
    test(`in the ${place} directory: pods are refused, others can be asked, stopped and removed`, async () => {
      const pod = await runPod(cri, 'p');
      const idle = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
      const killed = await startIn(cri, pod, idleSpec('killed', node.images.busybox));
      const second = await runPod(cri, 'second');
      const beside = await startIn(cri, second, idleSpec('idle', node.images.busybox));
      {
        using _full = fill(places[place]);
        const request = runPod(cri, 'refused');
        await rejectsWith(request, 'RESOURCE_EXHAUSTED', /full|no space left|ENOSPC/i);
        await rejectsWith(
          createIn(cri, pod, idleSpec('refused', node.images.busybox)),
          'RESOURCE_EXHAUSTED',
          /full|no space left|ENOSPC/i,
        );
        assert.deepEqual(
          [(await listPods(cri)).length, (await listContainers(cri)).length],
          [2, 3],
          'nothing of the refused ones is listed',
        );
        process.kill(await pidOf(cri, killed), 'SIGKILL');
        const status = await untilState(cri, killed, 'CONTAINER_EXITED');
        // The monitor writes the exit code into the state directory: nobody else knows it.
        if (place === 'root') assert.deepEqual([status.exitCode, status.reason], [137, 'Error']);
        else
          assert.match(
            status.message,
            /could not write the exit code, which is unknown: its directory is full/,
          );
        await cri.call('StopContainer', { containerId: idle, timeout: '20' });
        assert.equal((await statusOf(cri, idle)).state, 'CONTAINER_EXITED');
        await cri.call('RemoveContainer', { containerId: idle });
        await removePod(cri, pod.id);
        await node.daemon.kill();
        await node.daemon.startAgain();
        assert.equal((await exec(cri, beside, 'true')).exitCode, 0, 'the daemon starts on a full disk too');
        await removePod(cri, second.id);
        assert.deepEqual([await listPods(cri), await listContainers(cri)], [[], []]);
      }
      await runPod(cri, 'refused');
    });
  }

  test('in a log directory: the container goes on, and so does everything else', async () => {
    const pod = await runPod(cri, 'p', { logDirectory: places.logs });
    const talker = await startIn(
      cri,
      pod,
      containerSpec('talker', node.images.busybox, {
        command: ['sh', '-c', 'head -c 8000000 /dev/zero | tr "\\0" "x" | fold -w 100; exit 9'],
      }),
    );
    const status = await untilState(cri, talker, 'CONTAINER_EXITED');
    assert.deepEqual([status.exitCode, status.reason], [9, 'Error']);
    const idle = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
    assert.equal((await exec(cri, idle, 'echo', 'fine')).stdout, 'fine');
    await cri.call('StopContainer', { containerId: idle, timeout: '20' });
    assert.equal((await statusOf(cri, idle)).exitCode, 0);
    rmSync(join(places.logs, 'talker.log'));
  });
});

/** Takes all space of a file system until it is disposed. */
function fill(directory: string): Disposable {
  const path = join(directory, 'filler');
  const fd = openSync(path, 'w');
  for (let bytes = mebibyte; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    const chunk = Buffer.alloc(bytes, 1);
    try {
      for (;;) writeSync(fd, chunk);
    } catch (error) {
      assert.equal(errnoOf(error), 'ENOSPC');
    }
  }
  closeSync(fd);
  assert.equal(statfsSync(directory).bavail, 0);
  return { [Symbol.dispose]: () => rmSync(path) };
}

/** undefined while what is listed is still being removed. */
function filesNow(directory: string): readonly string[] | undefined {
  try {
    return files(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function files(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.startsWith('state.db'))
    .toSorted();
}
