// test-minutes: 10
/** crictl's commands on pods and containers, on a pod of a web server and a client of it, from nothing to nothing. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Crictl, crictlSkipReason } from './engine/crictl.ts';
import { webPage } from './engine/images.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import { containerSpec, idleSpec, podSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually, untilServed } from './engine/wait.ts';
import type { ContainerStatus, PodStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? crictlSkipReason() ?? false;

interface Lists {
  readonly items: readonly { readonly id: string; readonly state: string }[];
  readonly containers: readonly { readonly id: string; readonly state: string }[];
}

describe('crictl: pods and containers', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let crictl: Crictl;
  let empty: NodeState;
  let pod = '';
  let web = '';
  let client = '';
  let ip = '';
  const podFile = podSpec('web-pod', { labels: { app: 'web-pod', tier: 'front' } });

  before(async () => {
    node = await startTestNode();
    crictl = new Crictl();
    await crictl.ok('pull', node.images.busybox);
    await crictl.ok('pull', node.images.web);
    empty = nodeState();
  });
  after(async () => {
    crictl[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  const inspectContainer = async (id: string): Promise<ContainerStatus> =>
    (await crictl.json<{ status: ContainerStatus }>('inspect', id)).status;

  test('runp starts a pod, pods and inspectp show it', async () => {
    pod = await crictl.ok('runp', crictl.file(podFile));
    assert.match(pod, /^[0-9a-f]{64}$/);
    const table = await crictl.ok('pods');
    assert.match(table, new RegExp(`^${pod.slice(0, 13)}\\s.*\\sReady\\s+web-pod\\s+e2e\\s+0\\s`, 'm'));
    const { status, info } = await crictl.json<{ status: PodStatus; info: Record<string, unknown> }>(
      'inspectp',
      pod,
    );
    assert.equal(status.id, pod);
    assert.equal(status.state, 'SANDBOX_READY');
    assert.deepEqual(status.metadata, { attempt: 0, name: 'web-pod', namespace: 'e2e', uid: 'uid-web-pod' });
    assert.deepEqual(status.labels, podFile['labels']);
    assert.deepEqual(status.annotations, podFile['annotations']);
    assert.match(status.network.ip, /^\d+\.\d+\.\d+\.\d+$/);
    assert.ok('runtimeHandler' in info && 'config' in info, Object.keys(info).join());
    ip = status.network.ip;
  });

  test('pods filters by id, name, state and label', async () => {
    const other = await crictl.ok('runp', crictl.file(podSpec('other-pod')));
    const list = async (...filter: readonly string[]): Promise<readonly string[]> =>
      (await crictl.ok('pods', '--quiet', '--no-trunc', ...filter))
        .split('\n')
        .filter((id) => id !== '')
        .toSorted();
    assert.deepEqual(await list(), [pod, other].toSorted());
    assert.deepEqual(await list('--id', pod.slice(0, 12)), [pod]);
    assert.deepEqual(await list('--name', 'other'), [other]);
    assert.deepEqual(await list('--label', 'tier=front'), [pod]);
    assert.deepEqual(await list('--label', 'tier=front', '--label', 'app=other-pod'), []);
    assert.deepEqual(await list('--state', 'notready'), []);
    await crictl.ok('stopp', other);
    assert.deepEqual(await list('--state', 'notready'), [other]);
    await crictl.ok('rmp', other);
    assert.deepEqual(await list(), [pod]);
  });

  test('create makes a container that ps -a and inspect show as created', async () => {
    const spec = crictl.file(containerSpec('web', node.images.web));
    web = await crictl.ok('create', pod, spec, crictl.file(podFile));
    assert.match(web, /^[0-9a-f]{64}$/);
    assert.equal(await crictl.ok('ps', '--quiet'), '');
    const table = await crictl.ok('ps', '--all');
    assert.match(
      table,
      new RegExp(`^${web.slice(0, 13)}\\s.*\\sCreated\\s+web\\s+0\\s+${pod.slice(0, 13)}\\s`, 'm'),
    );
    const status = await inspectContainer(web);
    assert.equal(status.state, 'CONTAINER_CREATED');
    assert.equal(status.logPath, '/var/log/pods/e2e_web-pod/web.log');
    assert.equal(status.image.image, node.images.web);
  });

  test('start runs it; the web server answers on the pod’s IP', async () => {
    assert.equal(await crictl.ok('start', web), web);
    assert.equal((await inspectContainer(web)).state, 'CONTAINER_RUNNING');
    await untilServed(`http://${ip}/`);
    const answer = await fetch(`http://${ip}/`);
    assert.equal(await answer.text(), webPage);
    assert.match(answer.headers.get('server') ?? '', /^nginx\//);
  });

  test('a second container asks the web server over localhost and over the pod’s IP', async () => {
    client = await crictl.ok(
      'create',
      pod,
      crictl.file(idleSpec('client', node.images.busybox)),
      crictl.file(podFile),
    );
    await crictl.ok('start', client);
    for (const host of ['localhost', '127.0.0.1', ip, 'web-pod', '[::1]']) {
      const page = await crictl.ok('exec', '--sync', client, 'wget', '-qO-', `http://${host}/`);
      assert.equal(page, webPage.trim(), `over ${host}`);
    }
  });

  test('ps filters by name, state, pod, image and label', async () => {
    const list = async (...filter: readonly string[]): Promise<readonly string[]> =>
      (await crictl.ok('ps', '--quiet', '--no-trunc', ...filter))
        .split('\n')
        .filter((id) => id !== '')
        .toSorted();
    assert.deepEqual(await list(), [web, client].toSorted());
    assert.deepEqual(await list('--name', '^web$'), [web]);
    assert.deepEqual(await list('--label', 'role=client'), [client]);
    assert.deepEqual(await list('--pod', pod), [web, client].toSorted());
    assert.deepEqual(await list('--image', node.images.web), [web]);
    assert.deepEqual(await list('--state', 'exited'), []);
    const json = await crictl.json<Lists>('ps', '--output', 'json');
    assert.deepEqual(
      json.containers.map(({ state }) => state),
      ['CONTAINER_RUNNING', 'CONTAINER_RUNNING'],
    );
  });

  test('inspect shows the image, the pid and the spec of a running container', async () => {
    const { status, info } = await crictl.json<{
      status: ContainerStatus;
      info: {
        pid: number;
        sandboxID: string;
        runtimeSpec: { hostname?: string; process: { args: string[] } };
      };
    }>('inspect', web);
    assert.equal(info.sandboxID, pod);
    assert.deepEqual(info.runtimeSpec.process.args, ['nginx']);
    assert.match(readFileSync(`/proc/${info.pid}/cmdline`, 'utf8'), /^nginx/);
    const image = await crictl.json<{ status: { id: string } }>('inspecti', node.images.web);
    assert.equal(status.imageId, image.status.id);
    assert.equal(status.imageRef, image.status.id);
    assert.ok(Date.parse(status.startedAt) >= Date.parse(status.createdAt));
  });

  test('stop ends a container by its image’s stop signal, and says so', async () => {
    assert.equal(await crictl.ok('stop', '--timeout', '20', web), web);
    const status = await inspectContainer(web);
    assert.equal(status.state, 'CONTAINER_EXITED');
    assert.deepEqual([status.exitCode, status.reason], [0, 'Completed']);
    assert.match((await crictl.run(['logs', web])).stderr, /SIGQUIT.*received/);
    assert.match(
      await crictl.ok('ps', '--all'),
      new RegExp(`^${web.slice(0, 13)}\\s.*\\sExited\\s+web`, 'm'),
    );
    assert.equal(await crictl.ok('stop', web), web, 'stopping again is no error');
  });

  test('a container that ignores its signal is killed after its time', async () => {
    const command = ['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 1; done'];
    const spec = containerSpec('deaf', node.images.busybox, { command });
    const deaf = await crictl.ok('create', pod, crictl.file(spec), crictl.file(podFile));
    await crictl.ok('start', deaf);
    await eventually('its trap', async () => ((await crictl.ok('logs', deaf)) === 'deaf' ? true : undefined));
    await crictl.ok('stop', '--timeout', '1', deaf);
    const status = await inspectContainer(deaf);
    assert.deepEqual([status.state, status.exitCode, status.reason], ['CONTAINER_EXITED', 137, 'Error']);
  });

  test('rm refuses a running container, removes it by force, and a stopped one as it is', async () => {
    assert.match(await crictl.fails('rm', client), /running/);
    // Named twice by crictl: for the stop and for the removal.
    assert.equal(await crictl.ok('rm', '--force', client), `${client}\n${client}`);
    assert.equal(await crictl.ok('rm', web), web);
    assert.match(await crictl.fails('inspect', web), /not found|NotFound|no such/i);
    assert.equal(await crictl.ok('ps', '--all', '--quiet', '--name', 'web'), '');
  });

  test('run does it all at once', async () => {
    const id = await crictl.ok(
      'run',
      '--no-pull',
      crictl.file(containerSpec('once', node.images.busybox, { command: ['sh', '-c', 'echo once; exit 3'] })),
      crictl.file(podSpec('run-pod')),
    );
    const status = await eventually('the exit', async () => {
      const now = await inspectContainer(id);
      return now.state === 'CONTAINER_EXITED' ? now : undefined;
    });
    assert.deepEqual([status.exitCode, status.reason], [3, 'Error']);
    assert.equal(await crictl.ok('logs', id), 'once');
    const [runPod = ''] = (await crictl.ok('pods', '--quiet', '--no-trunc', '--name', 'run-pod')).split('\n');
    await crictl.ok('rmp', '--force', runPod);
  });

  test('stopp frees the pod’s address and ends what runs in it; rmp removes it and its containers', async () => {
    const last = await crictl.ok(
      'create',
      pod,
      crictl.file(idleSpec('last', node.images.busybox)),
      crictl.file(podFile),
    );
    await crictl.ok('start', last);
    assert.match(await crictl.fails('rmp', pod), /ready|running/i);
    assert.equal(await crictl.ok('stopp', pod), `Stopped sandbox ${pod}`);
    const { status } = await crictl.json<{ status: PodStatus }>('inspectp', pod);
    assert.deepEqual([status.state, status.network.ip], ['SANDBOX_NOTREADY', '']);
    assert.equal((await inspectContainer(last)).state, 'CONTAINER_EXITED');
    assert.equal(await crictl.ok('stopp', pod), `Stopped sandbox ${pod}`, 'stopping again is no error');
    assert.equal(await crictl.ok('rmp', pod), `Removed sandbox ${pod}`);
    assert.equal(await crictl.ok('ps', '--all', '--quiet'), '');
    assert.equal(await crictl.ok('pods', '--quiet'), '');
  });

  test('nothing is left', async () => {
    await assertNothingLeft(empty);
  });
});
