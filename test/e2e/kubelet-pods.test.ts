// test-minutes: 10
/** The real kubelet (GANTRY_KUBELET, GANTRY_AGNHOST) runs static pods on the engine: what a pod's specification asks for, it gets. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { webPage } from './engine/images.ts';
import { untilServed } from './engine/wait.ts';
import { idler, script } from './kubelet/containers.ts';
import { podLog, runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { agnhostSkipReason, KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { containerOf, isReady } from './kubelet/pod-status.ts';

const skip = kubeletNodeSkipReason() ?? false;

const hostAddress = (): string =>
  (
    JSON.parse(execFileSync('ip', ['-j', '-4', 'addr', 'show', 'dev', 'eth0'], { encoding: 'utf8' })) as {
      addr_info: { local: string }[];
    }[]
  )[0]?.addr_info[0]?.local ?? '';

/** Sends a datagram until one comes back: nothing says when a UDP server listens. */
async function askUdp(address: string, port: number, text: string): Promise<string> {
  const socket = createSocket('udp4');
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.once('message', (answer) => resolve(answer.toString()));
  const timer = setInterval(() => socket.send(text, port, address), 200);
  const deadline = setTimeout(() => resolve('no answer'), 20_000);
  return await promise.finally(() => {
    clearInterval(timer);
    clearTimeout(deadline);
    socket.close();
  });
}

/** CAP_SYS_RESOURCE, by its number in the kernel's list. */
const sysResource = 24n;
const capabilities = /^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
const scoreSkip =
  (BigInt(`0x${capabilities}`) >> sysResource) % 2n === 1n
    ? false
    : 'a negative oom_score_adj needs CAP_SYS_RESOURCE, which this host withholds';

describe('kubelet: pods', { skip }, () => {
  let node: KubeletNode;
  let busybox = '';
  let web = '';

  before(async () => {
    node = await KubeletNode.start({ agnhost: agnhostSkipReason() === undefined });
    ({ busybox, web } = node.engine.images);
    addPods();
  });
  after(async () => await node[Symbol.asyncDispose]());

  const run = async (pod: string, container: string, command: string): Promise<string> =>
    (await runInContainer(pod, container, command)).trim();

  function addPods(): void {
    addInitPods();
    addNamespacePods();
    addConfigurationPods();
  }

  function addInitPods(): void {
    const volumeMounts = [{ name: 'work', mountPath: '/work' }];
    node.addPod('init', {
      restartPolicy: 'Never',
      volumes: [{ name: 'work', emptyDir: {} }],
      initContainers: [
        script(busybox, 'first', 'echo first >> /work/order', { volumeMounts }),
        script(
          busybox,
          'sidecar',
          'trap "echo sidecar-stopped >> /work/order; exit 0" TERM; sleep 1; echo sidecar >> /work/order; touch /work/up; while :; do sleep 1000 & wait $!; done',
          {
            volumeMounts,
            restartPolicy: 'Always',
            startupProbe: { exec: { command: ['test', '-e', '/work/up'] }, periodSeconds: 1 },
          },
        ),
        script(busybox, 'second', 'echo second >> /work/order', { volumeMounts }),
      ],
      containers: [script(busybox, 'main', 'echo main >> /work/order; cat /work/order', { volumeMounts })],
    });
    node.addPod('init-fails', {
      restartPolicy: 'Never',
      initContainers: [script(busybox, 'broken', 'echo cannot >&2; exit 7')],
      containers: [idler(busybox, 'main')],
    });
  }

  function addNamespacePods(): void {
    node.addPod('pid-shared', {
      shareProcessNamespace: true,
      containers: [script(busybox, 'a', 'exec sleep 4242'), script(busybox, 'b', 'exec sleep 4343')],
    });
    node.addPod('pid-own', { containers: [idler(busybox, 'a'), idler(busybox, 'b')] });
    node.addPod('pid-host', { hostPID: true, hostIPC: true, containers: [idler(busybox, 'a')] });
    node.addPod('net-host', {
      hostNetwork: true,
      containers: [
        script(busybox, 'web', 'echo on the host > /tmp/index.html; exec httpd -f -p 18080 -h /tmp'),
      ],
    });
    if (node.agnhost !== '')
      node.addPod('udp', {
        containers: [
          {
            name: 'server',
            image: node.agnhost,
            args: ['netexec', '--http-port=8080', '--udp-port=9000'],
            ports: [{ containerPort: 9000, hostPort: 19000, protocol: 'UDP' }],
          },
        ],
      });
    node.addPod('ports', {
      hostname: 'harbour',
      subdomain: 'sea',
      hostAliases: [{ ip: '192.0.2.7', hostnames: ['lighthouse'] }],
      dnsPolicy: 'None',
      dnsConfig: {
        nameservers: ['192.0.2.53'],
        searches: ['example.test'],
        options: [{ name: 'ndots', value: '3' }],
      },
      containers: [
        {
          name: 'web',
          image: web,
          ports: [
            { containerPort: 80, hostPort: 18081 },
            { containerPort: 80, hostPort: 18082, hostIP: '127.0.0.1' },
          ],
          readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
        },
      ],
    });
  }

  function addConfigurationPods(): void {
    const all = { cpu: '50m', memory: '32Mi' };
    node.addPod('guaranteed', {
      containers: [idler(busybox, 'main', { resources: { limits: all, requests: all } })],
    });
    const field = (name: string, fieldPath: string): object => ({
      name,
      valueFrom: { fieldRef: { fieldPath } },
    });
    node.addPod(
      'downward',
      {
        volumes: [
          {
            name: 'info',
            downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] },
          },
        ],
        containers: [
          idler(busybox, 'main', {
            env: [
              field('POD_NAME', 'metadata.name'),
              field('POD_UID', 'metadata.uid'),
              field('NODE', 'spec.nodeName'),
              field('POD_IP', 'status.podIP'),
              field('HOST_IP', 'status.hostIP'),
              field('NOTE', "metadata.annotations['note']"),
              {
                name: 'MEMORY',
                valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } },
              },
              { name: 'GREETING', value: 'hello $(POD_NAME)' },
              { name: 'EMPTY', value: '' },
            ],
            args: ['$(GREETING)'],
            workingDir: '/tmp',
            resources: { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '250m', memory: '64Mi' } },
            volumeMounts: [{ name: 'info', mountPath: '/info' }],
          }),
        ],
      },
      { labels: { app: 'downward', tier: 'test' }, annotations: { note: 'a note "with" quotes' } },
    );
  }

  test('init containers run in order, a sidecar beside them, and ends after the main container', async () => {
    const pod = await untilPod('init', 'has ended', ({ status }) => status.phase === 'Succeeded');
    assert.equal(await podLog('init', 'main'), 'first\nsidecar\nsecond\nmain\n');
    for (const name of ['first', 'second', 'main'])
      assert.equal(containerOf(pod, name).state.terminated?.reason, 'Completed');
    const sidecar = containerOf(pod, 'sidecar').state.terminated;
    assert.equal(sidecar?.exitCode, 0, 'the sidecar ended by its own handler of SIGTERM');
    const mainEnd = containerOf(pod, 'main').state.terminated?.finishedAt ?? '';
    assert.ok(sidecar.finishedAt >= mainEnd, `${sidecar.finishedAt} >= ${mainEnd}`);
  });

  test('an init container that fails ends the pod, and its status and log say why', async () => {
    const pod = await untilPod('init-fails', 'has failed', ({ status }) => status.phase === 'Failed');
    const broken = containerOf(pod, 'broken').state.terminated;
    assert.equal(broken?.exitCode, 7);
    assert.equal(broken.reason, 'Error');
    assert.equal(containerOf(pod, 'main').state.waiting?.reason, 'PodInitializing');
    assert.equal(await podLog('init-fails', 'broken'), 'cannot\n');
  });

  test('a shared PID namespace: the containers see each other, below one init', async () => {
    await untilPod('pid-shared', 'is ready', isReady);
    const seen = await run('pid-shared', 'a', 'ps -o pid,args');
    assert.match(seen, /^ *1 .*catatonit/m);
    assert.match(seen, /sleep 4242$/m);
    assert.match(seen, /sleep 4343$/m);
    assert.doesNotMatch(seen, /gantryd|main\.ts/);
  });

  test('separate PID namespaces: each container is its own process 1', async () => {
    await untilPod('pid-own', 'is ready', isReady);
    const [one, other] = await Promise.all(
      ['a', 'b'].map((name) => run('pid-own', name, 'readlink /proc/self/ns/pid')),
    );
    assert.notEqual(one, other);
    assert.match(await run('pid-own', 'a', 'ps -o pid,args'), /^ *1 sh -c trap/m);
    assert.equal(
      await run('pid-own', 'a', 'readlink /proc/self/ns/net'),
      await run('pid-own', 'b', 'readlink /proc/self/ns/net'),
    );
    assert.equal(
      await run('pid-own', 'a', 'readlink /proc/self/ns/ipc'),
      await run('pid-own', 'b', 'readlink /proc/self/ns/ipc'),
    );
  });

  test('the host’s PID and IPC namespaces', async () => {
    await untilPod('pid-host', 'is ready', isReady);
    for (const kind of ['pid', 'ipc'])
      assert.equal(
        await run('pid-host', 'a', `readlink /proc/self/ns/${kind}`),
        readlinkSync(`/proc/self/ns/${kind}`),
      );
  });

  test('the host’s network: its address, its name, its ports', async () => {
    await untilPod('net-host', 'is ready', isReady);
    assert.equal(
      await run('net-host', 'web', 'readlink /proc/self/ns/net'),
      readlinkSync('/proc/self/ns/net'),
    );
    assert.equal(await run('net-host', 'web', 'hostname'), hostname());
    assert.equal(await untilServed('http://127.0.0.1:18080/'), 'on the host\n');
  });

  test('host ports: on every address, and on one', async () => {
    const { status } = await untilPod('ports', 'is ready', isReady);
    assert.equal(await untilServed(`http://${status.podIP}/`), webPage);
    assert.equal(await untilServed(`http://${hostAddress()}:18081/`), webPage);
    assert.equal(await untilServed('http://127.0.0.1:18081/'), webPage);
    assert.equal(await untilServed('http://127.0.0.1:18082/'), webPage);
    await assert.rejects(fetch(`http://${hostAddress()}:18082/`), 'the port is bound to another address');
  });

  test('a host port of UDP', { skip: agnhostSkipReason() ?? false }, async () => {
    await untilPod('udp', 'is ready', isReady);
    assert.equal(await askUdp(hostAddress(), 19_000, 'echo over udp'), 'over udp');
  });

  test('host name, host aliases and DNS are as the pod says', async () => {
    await untilPod('ports', 'is ready', isReady);
    assert.equal(await run('ports', 'web', 'hostname'), 'harbour');
    assert.match(await run('ports', 'web', 'cat /etc/hosts'), /^192\.0\.2\.7\s+lighthouse$/m);
    assert.deepEqual((await run('ports', 'web', 'cat /etc/resolv.conf')).split('\n').toSorted(), [
      'nameserver 192.0.2.53',
      'options ndots:3',
      'search example.test',
    ]);
  });

  test('the downward API, environment and working directory', async () => {
    const { metadata, status } = await untilPod('downward', 'is ready', isReady);
    const env = await run('downward', 'main', 'env');
    for (const line of [
      'POD_NAME=downward-node1',
      `POD_UID=${metadata.uid}`,
      'NODE=node1',
      `POD_IP=${status.podIP}`,
      `HOST_IP=${hostAddress()}`,
      'NOTE=a note "with" quotes',
      'MEMORY=64',
      'GREETING=hello downward-node1',
      'EMPTY=',
      'HOSTNAME=downward-node1',
    ])
      assert.ok(env.split('\n').includes(line), `${line} in\n${env}`);
    assert.equal(await run('downward', 'main', 'cat /info/labels'), 'app="downward"\ntier="test"');
    assert.equal(await run('downward', 'main', 'pwd'), '/tmp');
    assert.match(await run('downward', 'main', 'ps -o args'), /hello downward-node1$/m);
  });

  test('resources become limits of the container’s cgroup', async () => {
    const pod = await untilPod('downward', 'is ready', isReady);
    const limits = await run('downward', 'main', 'cat /proc/self/cgroup');
    const id = (containerOf(pod, 'main').containerID ?? '').replace('gantry://', '');
    const { status } = await node.cri.call<{
      status: { resources: { linux: Record<string, string> } };
    }>('ContainerStatus', { containerId: id });
    assert.equal(status.resources.linux['memoryLimitInBytes'], String(64 * 2 ** 20), limits);
    assert.equal(status.resources.linux['cpuQuota'], '25000');
    assert.equal(status.resources.linux['cpuShares'], '102');
    const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
    const memory = unified ? 'memory.max' : 'memory/memory.limit_in_bytes';
    assert.equal(await run('downward', 'main', `cat /sys/fs/cgroup/${memory}`), String(64 * 2 ** 20));
    const cpu = unified ? 'cpu.max' : 'cpu/cpu.cfs_quota_us';
    assert.equal(
      await run('downward', 'main', `cat /sys/fs/cgroup/${cpu}`),
      unified ? '25000 100000' : '25000',
    );
    assert.ok(Number(await run('downward', 'main', 'cat /proc/self/oom_score_adj')) > 0);
    assert.equal(await run('pid-own', 'a', 'cat /proc/self/oom_score_adj'), '1000');
  });

  test('a guaranteed pod is spared by the OOM killer', { skip: scoreSkip }, async () => {
    await untilPod('guaranteed', 'is ready', isReady);
    assert.equal(await run('guaranteed', 'main', 'cat /proc/1/oom_score_adj'), '-997');
  });

  test('every pod goes, and nothing of them is left', async () => {
    await node.removeAllPods();
    await node.collect();
    await node.assertNothingLeft();
  });
});
