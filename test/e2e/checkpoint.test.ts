/** Checkpoints with the real CRIU and runc: a container is saved while it runs, and what can go wrong leaves nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { counter } from './engine/counter.ts';
import { criuSkipReason } from './engine/criu.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { describeNode } from './engine/describe-node.ts';
import { createIn, exec, removePod, runPod, startIn, type StartedPod, statusOf } from './engine/pod-steps.ts';
import { containerSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const toml = '[runtime]\ndefault_handler = "runc"\n';

describeNode('checkpoints', { toml, timeoutMs: 300_000, skipReason: criuSkipReason() }, ({ cri, node }) => {
  let pod: StartedPod;
  let containerId = '';
  const log = '/var/log/pods/e2e_saved/counter.log';

  before(async () => {
    pod = await runPod(cri, 'saved');
    const command = ['sh', '-c', `rm /etc/group; mkdir /new; echo changed > /new/file; ${counter}`];
    containerId = await startIn(cri, pod, containerSpec('counter', node.images.busybox, { command }));
    await eventually('a count', () => (lastCount(log) > 3 ? true : undefined));
  });

  const checkpoint = async (location: string, more: object = {}): Promise<unknown> =>
    await cri.call('CheckpointContainer', { containerId, location, ...more });
  const goesOn = async (): Promise<void> => {
    const count = lastCount(log);
    await eventually(`more than ${count}`, () => (lastCount(log) > count ? true : undefined));
  };
  const nothingLeft = (): void => {
    assert.deepEqual(readdirSync('/var/lib/gantry/checkpoints'), []);
    assert.deepEqual(
      readdirSync(node.directory).filter((name) => name.includes('checkpoint')),
      [],
    );
  };

  test('a running container is saved to an archive, and runs on', async () => {
    const location = join(node.directory, 'counter:1.tar');
    await checkpoint(location);
    await goesOn();
    assert.equal(statSync(location).mode & 0o7777, 0o600);
    assertWhole(location);
    const read = (name: string, ...more: string[]): string =>
      execFileSync(
        'tar',
        ['--extract', '--force-local', '--to-stdout', `--file=${location}`, name, ...more],
        {
          encoding: 'utf8',
        },
      );
    const config = JSON.parse(read('config.dump')) as Record<string, string>;
    assert.equal(config['id'], containerId);
    assert.equal(config['rootfsImageName'], node.images.busybox);
    assert.deepEqual(JSON.parse(read('deleted.files')), ['/etc/group']);
    const diff = execFileSync('tar', ['--extract', '--to-stdout', './new/file'], {
      input: execFileSync('tar', [
        '--extract',
        '--force-local',
        '--to-stdout',
        `--file=${location}`,
        'rootfs-diff.tar',
      ]),
      encoding: 'utf8',
    });
    assert.equal(diff, 'changed\n');
    nothingLeft();
  });

  test('locations that cannot be are refused, and the container is not touched', async () => {
    const elsewhere = join(node.directory, 'real');
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(node.directory, 'theirs'));
    lchownSync(join(node.directory, 'theirs'), 1000, 1000);
    const there = join(node.directory, 'counter:1.tar');
    await rejectsWith(
      checkpoint('relative.tar'),
      'INVALID_ARGUMENT',
      /location "relative.tar" is not the absolute/,
    );
    await rejectsWith(
      checkpoint(`${node.directory}/`),
      'INVALID_ARGUMENT',
      /is not the absolute path of a file/,
    );
    await rejectsWith(checkpoint('/nowhere/x.tar'), 'FAILED_PRECONDITION', /its directory: ENOENT/);
    await rejectsWith(checkpoint(there), 'ALREADY_EXISTS', /there is a file already/);
    await rejectsWith(checkpoint(join(node.directory, 'theirs/x.tar')), 'PERMISSION_DENIED', /user 1000/);
    await rejectsWith(checkpoint(''), 'INVALID_ARGUMENT', /location/);
    assert.deepEqual(readdirSync(elsewhere), []);
    await goesOn();
    nothingLeft();
  });

  test('what CRIU cannot save is told in its words, and goes on', async () => {
    // CRIU keeps deleted files that are still open, but not large ones.
    const held = 'dd if=/dev/zero of=/held bs=1M count=3; exec 3</held; rm /held; echo 1; sleep 1000';
    const command = ['sh', '-c', held];
    const id = await startIn(cri, pod, containerSpec('stubborn', node.images.busybox, { command }));
    await eventually('the file', () =>
      lastCount(log.replace('counter', 'stubborn')) > 0 ? true : undefined,
    );
    const location = join(node.directory, 'stubborn.tar');
    await rejectsWith(
      cri.call('CheckpointContainer', { containerId: id, location }),
      'FAILED_PRECONDITION',
      /^checkpoint container [0-9a-f]{64}: CRIU: /,
    );
    assert.ok(!existsSync(location));
    assert.equal((await statusOf(cri, id)).state, 'CONTAINER_RUNNING');
    assert.equal((await exec(cri, id, 'true')).exitCode, 0);
    nothingLeft();
    await cri.call('RemoveContainer', { containerId: id });
  });

  test('a client that leaves at any moment changes nothing for the container', async () => {
    for (const timeoutMs of [40, 80, 120, 160, 200, 260, 320, 640, 1280]) {
      const location = join(node.directory, `late-${timeoutMs}.tar`);
      const isDone = await cri.call('CheckpointContainer', { containerId, location }, { timeoutMs }).then(
        () => true,
        () => false,
      );
      await eventually('the end of the work', () =>
        readdirSync('/var/lib/gantry/checkpoints').length === 0 ? true : undefined,
      );
      await goesOn();
      // Who left early may find nothing, but never a part.
      if (isDone || existsSync(location)) assertWhole(location);
    }
    nothingLeft();
  });

  test('a daemon that is told to stop lets a container that stands still go on', async () => {
    using _ = slowCriu(node.directory);
    const location = join(node.directory, 'stopped.tar');
    const given = assert.rejects(checkpoint(location));
    await eventually('a container that stands still', async () => {
      const count = lastCount(log);
      await sleep(500);
      return lastCount(log) === count ? true : undefined;
    });
    assert.equal(await node.daemon.stop(), 0);
    await given;
    await goesOn();
    await node.daemon.startAgain();
    assert.ok(!existsSync(location));
    nothingLeft();
  });

  test('a container of a pod with a user namespace is refused, not saved with ids that are no other pod’s', async () => {
    const range = [{ containerId: 0, hostId: 131_072, length: 65_536 }];
    const namespaceOptions = { pid: 'CONTAINER', usernsOptions: { mode: 'POD', uids: range, gids: range } };
    const linux = { securityContext: { namespaceOptions } };
    const mapped = await runPod(cri, 'mapped', { linux });
    const command = ['sleep', '1000'];
    const id = await startIn(cri, mapped, containerSpec('main', node.images.busybox, { command, linux }));
    const location = join(node.directory, 'mapped-checkpoint.tar');
    const attempt = checkpoint(location, { containerId: id });
    await rejectsWith(attempt, 'FAILED_PRECONDITION', /user namespace of its own/);
    assert.ok(!existsSync(location));
    await removePod(cri, mapped.id);
  });

  test('only what runs can be saved', async () => {
    const id = await createIn(cri, pod, containerSpec('idle', node.images.busybox));
    const location = join(node.directory, 'idle.tar');
    await rejectsWith(
      cri.call('CheckpointContainer', { containerId: id, location }),
      'FAILED_PRECONDITION',
      /is created: only a running one/,
    );
    await cri.call('RemoveContainer', { containerId: id });
    await rejectsWith(
      cri.call('CheckpointContainer', { containerId: id, location }),
      'NOT_FOUND',
      /container/,
    );
  });
});

/** Puts off what CRIU is started for, to a time when a daemon that stops has given its clients up. */
function slowCriu(directory: string): Disposable {
  const place = '/usr/sbin/criu';
  const [real, slow] = [join(directory, 'criu'), join(directory, 'slow-criu')];
  copyFileSync(place, real);
  writeFileSync(slow, `#!/bin/sh\n[ "$1" = swrk ] && sleep 8\nexec ${real} "$@"\n`, { mode: 0o755 });
  execFileSync('mount', ['--bind', slow, place]);
  return { [Symbol.dispose]: () => execFileSync('umount', [place]) };
}

function assertWhole(archive: string): void {
  const argv = ['--list', '--force-local', `--file=${archive}`];
  const files = execFileSync('tar', argv, { encoding: 'utf8' }).trim().split('\n');
  const wanted = [
    'config.dump',
    'spec.dump',
    'status',
    'checkpoint/inventory.img',
    'rootfs-diff.tar',
    'dump.log',
  ];
  for (const name of wanted) assert.ok(files.includes(name), `${name} in ${files.join(' ')}`);
}

/** The last number on standard output in a CRI log, where lines of both streams may stand in any order. */
function lastCount(file: string): number {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const counts = Array.from(text.matchAll(/ stdout F (\d+)\n/g), ([, count]) => Number(count));
  return counts.at(-1) ?? 0;
}
