// test-minutes: 10
/** The real kubelet (GANTRY_KUBELET, GANTRY_AGNHOST): probes, hooks, terminations, and statuses that say why. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from './engine/wait.ts';
import { idler, script } from './kubelet/containers.ts';
import { podLog, runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { agnhostSkipReason, KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { type ContainerStatus, containerOf, isReady } from './kubelet/pod-status.ts';

const skip = kubeletNodeSkipReason() ?? false;
const agnhostSkip = agnhostSkipReason() ?? false;
const often = { periodSeconds: 1, failureThreshold: 1 };

interface ContainerEvent {
  readonly containerId: string;
  readonly containerEventType: string;
  readonly containersStatuses: readonly { readonly exitCode: number }[];
}

describe('kubelet: life and death of containers', { skip }, () => {
  let node: KubeletNode;
  let busybox = '';
  /** A folder of the host that the pods write into. */
  let shared = '';

  before(async () => {
    node = await KubeletNode.start({ agnhost: agnhostSkip === false });
    ({ busybox } = node.engine.images);
    shared = node.path('shared');
    mkdirSync(shared);
    addProbePods();
    addHookPods();
    addFailingPods();
  });
  after(async () => await node[Symbol.asyncDispose]());

  const volumes = (): object[] => [{ name: 'shared', hostPath: { path: shared } }];
  const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
  const said = (file: string): string | undefined =>
    existsSync(join(shared, file)) ? readFileSync(join(shared, file), 'utf8') : undefined;

  function addProbePods(): void {
    for (const file of ['http', 'tcp', 'exec']) writeFileSync(join(shared, file), '');
    const serve = 'mkdir /tmp/www; ln -s /shared/http /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www';
    const listenWhileThere = `trap "exit 0" TERM; nc -ll -p 70 -e true &
      while [ -e /shared/tcp ]; do sleep 0.2; done
      kill %1; while :; do sleep 1000 & wait $!; done`;
    node.addPod('probes', {
      volumes: volumes(),
      containers: [
        script(busybox, 'http', serve, { volumeMounts, readinessProbe: { httpGet: { port: 80 }, ...often } }),
        script(busybox, 'tcp', listenWhileThere, {
          volumeMounts,
          startupProbe: { tcpSocket: { port: 70 }, periodSeconds: 1 },
          livenessProbe: { tcpSocket: { port: 70 }, ...often },
        }),
        idler(busybox, 'exec', {
          volumeMounts,
          startupProbe: {
            exec: { command: ['test', '-e', '/shared/exec'] },
            periodSeconds: 1,
            failureThreshold: 60,
          },
          livenessProbe: { exec: { command: ['test', '-e', '/shared/exec'] }, ...often },
        }),
      ],
    });
    node.addPod('slow', {
      volumes: volumes(),
      containers: [
        idler(busybox, 'starts', {
          volumeMounts,
          startupProbe: {
            exec: { command: ['test', '-e', '/shared/slow'] },
            periodSeconds: 1,
            failureThreshold: 60,
          },
        }),
        idler(busybox, 'hangs', {
          readinessProbe: {
            exec: { command: ['sh', '-c', 'sleep 5151 & sleep 5151'] },
            timeoutSeconds: 1,
            ...often,
          },
        }),
      ],
    });
    if (agnhostSkip === false)
      node.addPod('grpc', {
        containers: [
          {
            name: 'server',
            image: node.agnhost,
            args: ['grpc-health-checking', '--port=5000', '--http-port=8080'],
            readinessProbe: { grpc: { port: 5000 }, ...often },
            livenessProbe: { grpc: { port: 5000 }, ...often },
          },
        ],
      });
  }

  function addHookPods(): void {
    const hook = (text: string): object => ({ exec: { command: ['sh', '-c', text] } });
    const termed =
      'trap "echo terminated >> /shared/graceful; exit 0" TERM; while :; do sleep 1000 & wait $!; done';
    node.addPod('graceful', {
      terminationGracePeriodSeconds: 30,
      volumes: volumes(),
      containers: [
        script(busybox, 'main', termed, {
          volumeMounts,
          lifecycle: {
            postStart: hook('echo started >> /shared/graceful'),
            preStop: hook('echo stopping >> /shared/graceful'),
          },
        }),
      ],
    });
    node.addPod('stubborn', {
      terminationGracePeriodSeconds: 1,
      volumes: volumes(),
      containers: [
        script(busybox, 'main', 'trap "echo heard >> /shared/stubborn" TERM; while :; do sleep 0.1; done', {
          volumeMounts,
        }),
      ],
    });
    node.addPod('bad-hook', {
      restartPolicy: 'Never',
      containers: [
        script(busybox, 'main', 'trap "exit 5" TERM; while :; do sleep 1000 & wait $!; done', {
          lifecycle: { postStart: hook('echo no luck >&2; exit 9') },
        }),
      ],
    });
  }

  function addFailingPods(): void {
    const one = (name: string, container: object, more: object = {}): void =>
      node.addPod(name, { containers: [container], ...more });
    one('crashes', script(busybox, 'main', 'echo the reason > /dev/termination-log; echo alive; exit 3'));
    one(
      'last-words',
      script(busybox, 'main', 'echo famous last words; exit 4', {
        terminationMessagePolicy: 'FallbackToLogsOnError',
      }),
      { restartPolicy: 'Never' },
    );
    one('hungry', script(busybox, 'main', 'tail /dev/zero', { resources: { limits: { memory: '24Mi' } } }), {
      restartPolicy: 'Never',
    });
    one('no-image', { name: 'main', image: `${node.engine.registry.host}/library/nowhere:latest` });
    one('bad-name', { name: 'main', image: 'Not A Reference' });
    one(
      'no-profile',
      idler(busybox, 'main', {
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'missing.json' } },
      }),
    );
    one('no-command', { name: 'main', image: busybox, command: ['/no/such/program'] });
    one('no-directory', idler(busybox, 'main', { workingDir: 'relative' }));
    one('once', script(busybox, 'main', 'echo done'), { restartPolicy: 'OnFailure' });
    // The first process of a PID namespace heeds no signal from inside: here it is the second. The kubelet makes
    // one dollar of two.
    one('signalled', script(busybox, 'main', 'kill -SEGV $$$$'), {
      restartPolicy: 'Never',
      shareProcessNamespace: true,
    });
  }

  const status = async (
    pod: string,
    container: string,
    what: string,
    reached: (status: ContainerStatus) => boolean,
  ): Promise<ContainerStatus> =>
    containerOf(
      await untilPod(pod, `: ${container} ${what}`, (found) => reached(containerOf(found, container))),
      container,
    );

  /** Removes a pod of one container and tells how that one ended: the kubelet forgets a removed pod at once. */
  async function exitCodeAfterRemoval(name: string): Promise<number> {
    const { containerID = '' } = containerOf(await untilPod(name, 'is ready', isReady), 'main');
    const events = node.cri.stream<ContainerEvent>('GetContainerEvents', {}, { timeoutMs: 60_000 });
    const next = events.next();
    node.removePod(name);
    for (let event = await next; event.done !== true; event = await events.next()) {
      const { containerId, containerEventType, containersStatuses } = event.value;
      if (containerEventType !== 'CONTAINER_STOPPED_EVENT' || containerID !== `gantry://${containerId}`)
        continue;
      await events.return();
      return containersStatuses[0]?.exitCode ?? -1;
    }
    throw new Error(`no event tells that the container of ${name} has ended`);
  }

  test('an HTTP probe makes a container ready and unready, without a restart', async () => {
    await status('probes', 'http', 'is ready', ({ ready }) => ready);
    rmSync(join(shared, 'http'));
    await status('probes', 'http', 'is not ready', ({ ready }) => !ready);
    writeFileSync(join(shared, 'http'), '');
    const { restartCount } = await status('probes', 'http', 'is ready again', ({ ready }) => ready);
    assert.equal(restartCount, 0);
  });

  for (const kind of ['tcp', 'exec'])
    test(`a liveness probe (${kind}) that fails has the container restarted`, async () => {
      const before = await status('probes', kind, 'has started', ({ started }) => started === true);
      assert.equal(before.restartCount, 0);
      rmSync(join(shared, kind));
      const restarted = await status(
        'probes',
        kind,
        'was restarted',
        ({ restartCount }) => restartCount === 1,
      );
      assert.notEqual(restarted.lastState.terminated, undefined);
      writeFileSync(join(shared, kind), '');
      const { containerID } = await status(
        'probes',
        kind,
        'has started again',
        ({ started }) => started === true,
      );
      assert.notEqual(containerID, before.containerID);
    });

  test('a startup probe holds readiness back', async () => {
    const { ready, state } = await status(
      'slow',
      'starts',
      'runs',
      (found) => found.state.running !== undefined,
    );
    assert.notEqual(state.running, undefined);
    assert.equal(ready, false);
    writeFileSync(join(shared, 'slow'), '');
    const { started } = await status('slow', 'starts', 'is ready', (found) => found.ready);
    assert.equal(started, true);
  });

  test('an exec probe that never answers fails, and its processes are killed (containerd issue 7802)', async () => {
    await eventually('three probes that timed out', () => {
      const failures = node.kubelet.log
        .split('\n')
        .filter((line) => /ExecSync.*DeadlineExceeded.*sleep 5151/.test(line));
      return failures.length >= 3 ? true : undefined;
    });
    const { ready, restartCount } = await status(
      'slow',
      'hangs',
      'runs',
      (found) => found.state.running !== undefined,
    );
    assert.equal(ready, false);
    assert.equal(restartCount, 0);
    const processes = await runInContainer('slow', 'hangs', 'ps -o args');
    const left = processes.split('\n').filter((line) => line.endsWith('sleep 5151'));
    // The probe of this moment has two, and its shell.
    assert.ok(left.length <= 3, processes);
  });

  test('gRPC probes', { skip: agnhostSkip }, async () => {
    const pod = await untilPod('grpc', 'is ready', isReady);
    await (await fetch(`http://${pod.status.podIP}:8080/make-not-serving`)).text();
    const { lastState } = await status(
      'grpc',
      'server',
      'was restarted',
      ({ restartCount }) => restartCount === 1,
    );
    assert.notEqual(lastState.terminated, undefined);
    await untilPod('grpc', 'is ready again', isReady);
  });

  test('a crash is told with exit code, message and back-off, and the log before it is kept', async () => {
    const { state, lastState } = await status(
      'crashes',
      'main',
      'is in back-off',
      (found) => found.state.waiting?.reason === 'CrashLoopBackOff' && found.restartCount >= 1,
    );
    assert.match(state.waiting?.message ?? '', /back-off .* restarting failed container=main/);
    assert.equal(lastState.terminated?.exitCode, 3);
    assert.equal(lastState.terminated.reason, 'Error');
    assert.equal(lastState.terminated.message, 'the reason\n');
    assert.equal(await podLog('crashes', 'main', { previous: 'true' }), 'alive\n');
  });

  test('the last lines of the log become the message where the pod wants that', async () => {
    const { state } = await status(
      'last-words',
      'main',
      'has ended',
      (found) => found.state.terminated !== undefined,
    );
    assert.equal(state.terminated?.exitCode, 4);
    assert.equal(state.terminated.message, 'famous last words\n');
  });

  test('OOMKilled', async () => {
    const { state } = await status(
      'hungry',
      'main',
      'has ended',
      (found) => found.state.terminated !== undefined,
    );
    assert.equal(state.terminated?.reason, 'OOMKilled');
    assert.equal(state.terminated.exitCode, 137);
  });

  test('a signal is told by the exit code', async () => {
    const { state } = await status(
      'signalled',
      'main',
      'has ended',
      (found) => found.state.terminated !== undefined,
    );
    assert.equal(state.terminated?.exitCode, 128 + 11);
    assert.equal(state.terminated.reason, 'Error');
  });

  test('Completed', async () => {
    const pod = await untilPod('once', 'has succeeded', (found) => found.status.phase === 'Succeeded');
    const ended = containerOf(pod, 'main').state.terminated;
    assert.equal(ended?.reason, 'Completed');
    assert.equal(ended.exitCode, 0);
  });

  test('an image that is not there: ErrImagePull, then back-off; a name that is none: InvalidImageName', async () => {
    const seen = async (pod: string, reason: string): Promise<string> =>
      (await status(pod, 'main', `waits for ${reason}`, (found) => found.state.waiting?.reason === reason))
        .state.waiting?.message ?? '';
    assert.match(await seen('no-image', 'ErrImagePull'), /library\/nowhere:latest.*(not found|unknown)/i);
    assert.match(await seen('no-image', 'ImagePullBackOff'), /library\/nowhere:latest/);
    assert.match(await seen('bad-name', 'InvalidImageName'), /Not A Reference/);
  });

  test('what keeps a container from being made or started is named', async () => {
    const failed = async (pod: string): Promise<string> => {
      const { state, lastState } = await status(pod, 'main', 'says why', (found) =>
        /^(?:CreateContainerError|RunContainerError)$/.test(found.state.waiting?.reason ?? ''),
      );
      return state.waiting?.message ?? lastState.terminated?.message ?? '';
    };
    assert.match(await failed('no-profile'), /missing\.json/);
    assert.match(await failed('no-command'), /\/no\/such\/program/);
    assert.match(await failed('no-directory'), /relative/);
  });

  test('hooks: postStart while it starts, preStop before the signal; a removed pod ends by its own handler', async () => {
    await untilPod('graceful', 'is ready', isReady);
    assert.equal(said('graceful'), 'started\n');
    assert.equal(await exitCodeAfterRemoval('graceful'), 0);
    assert.equal(said('graceful'), 'started\nstopping\nterminated\n');
  });

  test('a container that will not end is killed after its grace period', async () => {
    await untilPod('stubborn', 'is ready', isReady);
    assert.equal(await exitCodeAfterRemoval('stubborn'), 137);
    assert.equal(said('stubborn'), 'heard\n');
  });

  test('a postStart hook that fails ends the container', async () => {
    const pod = await untilPod('bad-hook', 'has failed', (found) => found.status.phase === 'Failed');
    assert.equal(containerOf(pod, 'main').state.terminated?.exitCode, 5);
    await eventually('the reason in the kubelet’s log', () =>
      /PostStartHook.*main/.test(node.kubelet.log) ? true : undefined,
    );
  });

  test('every pod goes, and nothing of them is left', async () => {
    await node.removeAllPods();
    await node.collect();
    await node.assertNothingLeft();
  });
});
