// test-minutes: 5
/** The daemon's own state: corrupt, of another release, gone, or somebody else's. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { rejectsWith } from './engine/cri-client.ts';
import { criSocket } from './engine/daemon.ts';
import { describeNode } from './engine/describe-node.ts';
import {
  createIn,
  exec,
  listContainers,
  listPods,
  pidOf,
  pull,
  removeAllPods,
  removePod,
  runPod,
  startIn,
  statusOf,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';
import { findProcesses, isRunning } from './engine/processes.ts';
import { runDaemonToItsEnd } from './engine/second-daemon.ts';

const root = '/var/lib/gantry';
const database = `${root}/state.db`;

describeNode('the daemon’s state', {}, ({ cri, node, assertEmpty: assertNodeEmpty }) => {
  const assertEmpty = async (): Promise<void> => {
    for (const name of readdirSync(root)) if (name.includes('.corrupt-')) rmSync(join(root, name));
    await assertNodeEmpty();
  };
  const killedAndCorrupted = async (): Promise<void> => {
    await node.daemon.kill();
    for (const suffix of ['-wal', '-shm']) rmSync(database + suffix, { force: true });
    writeFileSync(database, 'this was a database once\n'.repeat(1000));
  };

  test('a corrupt database is set aside, said so, and rebuilt while the node has not been restarted', async () => {
    const pod = await runPod(cri, 'kept');
    const running = await startIn(cri, pod, idleSpec('running', node.images.busybox));
    const made = await createIn(cri, pod, idleSpec('made', node.images.busybox));
    const gone = await startIn(
      cri,
      pod,
      containerSpec('gone', node.images.busybox, { command: ['sh', '-c', 'exit 5'] }),
    );
    await untilState(cri, gone, 'CONTAINER_EXITED');
    const stopped = await runPod(cri, 'stopped');
    await cri.call('StopPodSandbox', { podSandboxId: stopped.id });
    const before = { pods: await listPods(cri), containers: await listContainers(cri) };
    const pid = await pidOf(cri, running);
    await killedAndCorrupted();
    await node.daemon.startAgain();
    assert.match(
      node.daemon.log,
      /state\.db\.corrupt-\d+.*the state database was corrupt and has been set aside/,
    );
    const aside = readdirSync(root).find((name) => name.startsWith('state.db.corrupt-')) ?? '';
    assert.match(readFileSync(join(root, aside), 'utf8'), /^this was a database once/);
    assert.deepEqual({ pods: await listPods(cri), containers: await listContainers(cri) }, before);
    assert.equal(await pidOf(cri, running), pid);
    assert.equal((await exec(cri, running, 'hostname')).stdout, 'kept');
    assert.equal((await statusOf(cri, gone)).exitCode, 5);
    await cri.call('StartContainer', { containerId: made });
    const { image } = await cri.call<{ image: object | null }>('ImageStatus', {
      image: { image: node.images.busybox },
    });
    assert.notEqual(image, null);
    await removeAllPods(cri);
    await assertEmpty();
  });

  test('what no record names is ended, removed and said', async () => {
    const pod = await runPod(cri, 'lost', {
      linux: { securityContext: { namespaceOptions: { pid: 'POD' } } },
    });
    const running = await startIn(cri, pod, idleSpec('running', node.images.busybox));
    const made = await createIn(cri, pod, idleSpec('made', node.images.busybox));
    const pid = await pidOf(cri, running);
    await killedAndCorrupted();
    rmSync('/run/gantry/records', { recursive: true });
    await node.daemon.startAgain();
    assert.deepEqual([await listPods(cri), await listContainers(cri)], [[], []]);
    assert.ok(!isRunning(pid));
    for (const id of [running, made, pod.id]) {
      assert.match(node.daemon.log, new RegExp(`"${id}".*no record`), 'it says what it ended');
      assert.deepEqual(findProcesses(new RegExp(`conmon .*--cid=${id}`)), []);
    }
    await pull(cri, node.images.busybox);
    await removePod(cri, (await runPod(cri, 'lost')).id);
    await assertEmpty();
  });

  test('what is left of checkpoints cannot be looked at: the daemon starts, and says so', async () => {
    await node.daemon.kill();
    rmSync(`${root}/checkpoints`, { recursive: true });
    writeFileSync(`${root}/checkpoints`, 'no directory');
    await node.daemon.startAgain();
    assert.match(node.daemon.log, /"what":"checkpoints","error":"\w+: .*checkpoints/);
    await node.daemon.kill();
    rmSync(`${root}/checkpoints`);
    await node.daemon.startAgain();
    await assertEmpty();
  });

  test('a record of another release is refused by name, and what it owns is left alone (containerd issues 6095, 11295)', async () => {
    const pod = await runPod(cri, 'newer');
    const id = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
    const pid = await pidOf(cri, id);
    const other = await runPod(cri, 'other');
    const { imageRef: image } = await statusOf(cri, id);
    await node.daemon.kill();
    setVersions(99, [pod.id, id, image]);
    await node.daemon.startAgain();
    for (const refused of [pod.id, id, image])
      assert.match(
        node.daemon.log,
        new RegExp(`"${refused}","reason":"record version 99, this release reads version 1"`),
      );
    assert.deepEqual(
      (await listPods(cri)).map((one) => one.id),
      [other.id],
    );
    await rejectsWith(statusOf(cri, id), 'NOT_FOUND', new RegExp(id));
    assert.ok(isRunning(pid));
    assert.ok(existsSync(`/run/gantry/sandboxes/${pod.id}/ns/net`));
    assert.ok(existsSync(`${root}/overlay/containers/${id}/rootfs/bin/busybox`));
    // It can be used as ever beside it, and is there again for the release that can read it.
    await removePod(cri, other.id);
    const web = await pull(cri, node.images.web);
    await cri.call('RemoveImage', { image: { image: web } });
    await node.daemon.kill();
    setVersions(1, [pod.id, id, image]);
    await node.daemon.startAgain();
    assert.equal(await pidOf(cri, id), pid);
    assert.equal((await exec(cri, id, 'hostname')).stdout, 'newer');
    await startIn(cri, pod, idleSpec('same-image', node.images.busybox));
    await removeAllPods(cri);
    await assertEmpty();
  });

  test('a second daemon refuses the directories and the socket of the first', async () => {
    const pod = await runPod(cri, 'undisturbed');
    const id = await startIn(cri, pod, idleSpec('idle', node.images.busybox));
    const elsewhere = join(node.directory, 'elsewhere');
    const own = `root = "${elsewhere}/root"\nstate = "${elsewhere}/state"\n`;
    const second = `[cri]\nsocket = "${elsewhere}/second.sock"\n`;
    const attempts: Readonly<Record<string, readonly [string, RegExp]>> = {
      everything: ['', /another daemon \(process \d+\) uses \/var\/lib\/gantry/],
      'the root': [
        `state = "${elsewhere}/state"\n${second}`,
        /another daemon \(process \d+\) uses \/var\/lib\/gantry/,
      ],
      'the state': [
        `root = "${elsewhere}/root"\n${second}`,
        /another daemon \(process \d+\) uses \/run\/gantry/,
      ],
      'the socket': [own, /another daemon already serves \/run\/gantry\/gantry\.sock/],
    };
    for (const [what, [toml, message]] of Object.entries(attempts)) {
      const { exitCode, stderr } = await runDaemonToItsEnd(node.directory, toml);
      assert.equal(exitCode, 1, what);
      assert.match(stderr, message, what);
      assert.ok(existsSync(criSocket));
      assert.equal((await exec(cri, id, 'true')).exitCode, 0);
    }
    rmSync(elsewhere, { recursive: true });
    await removeAllPods(cri);
    await assertEmpty();
  });
});

function setVersions(version: number, ids: readonly string[]): void {
  const state = new DatabaseSync(database);
  for (const table of ['sandboxes', 'containers', 'images'])
    for (const id of ids)
      state
        .prepare(`UPDATE ${table} SET record = json_set(record, '$.version', ?) WHERE id = ?`)
        .run(version, id);
  state.close();
}
