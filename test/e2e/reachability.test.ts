/** Who reaches whom: pods, the node, what is outside, host ports; and that nothing of it stays. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { CriClient } from './engine/cri-client.ts';
import { programEntries, pushBusyboxVariant, webPage } from './engine/images.ts';
import { assertNothingLeft, nodeState, type NodeState } from './engine/leftovers.ts';
import { containerSpec, idleSpec, podSpec, untilListening } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import type { PodStatus } from './engine/wire.ts';

const skip = engineSkipReason() ?? false;
const webPort = 8080;
const localPort = 8081;
const udpPort = 5353;

interface Pod {
  readonly id: string;
  readonly ip: string;
  /** A container with busybox. */
  readonly shell: string;
}

describe('reachability', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let cri: CriClient;
  let empty: NodeState;
  let server: Pod;
  let client: Pod;
  let outside: Outside;
  let nodeAddress = '';

  before(async () => {
    node = await startTestNode();
    cri = new CriClient();
    for (const image of [node.images.busybox, node.images.web])
      await cri.call('PullImage', { image: { image } });
    const echo = await pushBusyboxVariant(node.registry.host, 'echo', {
      entries: programEntries('/usr/bin/socat'),
    });
    await cri.call('PullImage', { image: { image: echo } });
    nodeAddress =
      ipJson<{ addr_info: { family: string; local: string }[] }>('addr', 'show', 'dev', 'eth0')
        .flatMap(({ addr_info: addresses }) => addresses)
        .find(({ family }) => family === 'inet')?.local ?? '';
    outside = new Outside(nodeAddress);
    empty = nodeState();

    const portMappings = [
      { protocol: 'TCP', containerPort: 80, hostPort: webPort },
      { protocol: 'TCP', containerPort: 80, hostPort: localPort, hostIp: '127.0.0.1' },
      { protocol: 'UDP', containerPort: 53, hostPort: udpPort },
    ];
    const command = ['/usr/bin/socat', 'UDP4-LISTEN:53,fork', 'EXEC:/bin/cat'];
    server = await runPod('server', { portMappings }, [
      containerSpec('web', node.images.web),
      containerSpec('echo', echo, { command }),
    ]);
    client = await runPod('client', {}, []);
    await inPod(server, ...untilListening(80));
  });
  after(async () => {
    outside[Symbol.dispose]();
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  async function runPod(
    name: string,
    more: Readonly<Record<string, unknown>>,
    specs: readonly object[],
  ): Promise<Pod> {
    const config = podSpec(name, more);
    const { podSandboxId: id } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config });
    let shell = '';
    for (const spec of [...specs, idleSpec('shell', node.images.busybox)]) {
      const request = { podSandboxId: id, config: spec, sandboxConfig: config };
      ({ containerId: shell } = await cri.call<{ containerId: string }>('CreateContainer', request));
      await cri.call('StartContainer', { containerId: shell });
    }
    const { status } = await cri.call<{ status: PodStatus }>('PodSandboxStatus', { podSandboxId: id });
    return { id, ip: status.network.ip, shell };
  }

  async function inPod(pod: Pod, ...cmd: readonly string[]): Promise<string> {
    const request = { containerId: pod.shell, cmd, timeout: 30 };
    const result = await cri.call<{ stdout: Buffer; stderr: Buffer; exitCode: number }>('ExecSync', request);
    assert.equal(result.exitCode, 0, `${cmd.join(' ')}: ${result.stderr.toString()}`);
    return result.stdout.toString();
  }

  const wget = async (pod: Pod, url: string): Promise<string> =>
    await inPod(pod, 'timeout', '5', 'wget', '-qO-', url);
  const fromNode = async (url: string): Promise<string> => await (await fetch(url)).text();

  test('a pod reaches another, itself and the node; the node reaches a pod', async () => {
    assert.notEqual(server.ip, client.ip);
    assert.equal(await wget(client, `http://${server.ip}/`), webPage);
    assert.equal(await wget(server, `http://${server.ip}/`), webPage);
    assert.equal(await wget(server, 'http://localhost/'), webPage);
    assert.equal(await fromNode(`http://${server.ip}/`), webPage);
    const seen: string[] = [];
    const listener = createServer((request, response) => {
      seen.push(request.socket.remoteAddress ?? '');
      response.end('the node\n');
    });
    listener.listen(0, '0.0.0.0');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    assert.equal(await wget(client, `http://${nodeAddress}:${port}/`), 'the node\n');
    assert.deepEqual(seen, [client.ip], 'the node sees who asks');
    listener.close();
  });

  test('a pod reaches what is outside the node, which knows no way to pods', async () => {
    assert.match(await inPod(client, 'ping', '-c', '1', '-W', '5', outside.address), / 0% packet loss/);
  });

  test('a host port reaches the pod: from the node, through loopback, from pods, from outside', async () => {
    assert.equal(await fromNode(`http://${nodeAddress}:${webPort}/`), webPage);
    assert.equal(await fromNode(`http://127.0.0.1:${webPort}/`), webPage);
    assert.equal(await wget(client, `http://${nodeAddress}:${webPort}/`), webPage);
    assert.equal(await wget(server, `http://${nodeAddress}:${webPort}/`), webPage, 'its own');
    assert.equal(outside.wget(`http://${nodeAddress}:${webPort}/`), webPage);
  });

  test('a host port on one address is on no other', async () => {
    assert.equal(await fromNode(`http://127.0.0.1:${localPort}/`), webPage);
    await assert.rejects(fromNode(`http://${nodeAddress}:${localPort}/`));
    assert.throws(() => outside.wget(`http://${nodeAddress}:${localPort}/`));
  });

  test('a UDP host port reaches the pod', async () => {
    for (const address of [nodeAddress, '127.0.0.1'])
      assert.equal(await echoDatagram(address, udpPort), `hello to ${address}`);
  });

  test('a pod in the node’s network has its links and addresses', async () => {
    const securityContext = { namespaceOptions: { network: 'NODE' } };
    const host = await runPod('host-network', { hostname: '', linux: { securityContext } }, []);
    assert.equal(host.ip, '');
    assert.match(await inPod(host, 'ip', 'addr', 'show', 'eth0'), new RegExp(`inet ${nodeAddress}/`));
    assert.equal(
      (await inPod(host, 'hostname')).trim(),
      execFileSync('hostname', { encoding: 'utf8' }).trim(),
    );
    await removePod(host);
  });

  test('a new pod gets the host port of one that was stopped', async () => {
    await removePod(server);
    await assert.rejects(fromNode(`http://127.0.0.1:${webPort}/`));
    const portMappings = [{ protocol: 'TCP', containerPort: 80, hostPort: webPort }];
    server = await runPod('successor', { portMappings }, [containerSpec('web', node.images.web)]);
    await inPod(server, ...untilListening(80));
    assert.equal(await fromNode(`http://127.0.0.1:${webPort}/`), webPage);
  });

  test('nothing is left when all pods are gone', async () => {
    await removePod(server);
    await removePod(client);
    await assertNothingLeft(empty);
  });

  async function removePod({ id }: Pod): Promise<void> {
    await cri.call('StopPodSandbox', { podSandboxId: id });
    await cri.call('RemovePodSandbox', { podSandboxId: id });
  }
});

/** A machine beside the node: a network namespace on a link of its own, with a route to the node's address and to no pod. */
class Outside implements Disposable {
  readonly address = '192.0.2.2';

  constructor(nodeAddress: string) {
    for (const line of [
      'netns add outside',
      'link add to-outside type veth peer name eth0 netns outside',
      'addr add 192.0.2.1/24 dev to-outside',
      'link set to-outside up',
      `-n outside addr add ${this.address}/24 dev eth0`,
      '-n outside link set eth0 up',
      `-n outside route add ${nodeAddress} via 192.0.2.1`,
    ])
      execFileSync('ip', line.split(' '));
  }

  wget(url: string): string {
    const argv = ['netns', 'exec', 'outside', 'timeout', '5', 'busybox', 'wget', '-qO-', url];
    return execFileSync('ip', argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  }

  [Symbol.dispose](): void {
    execFileSync('ip', ['link', 'del', 'to-outside']);
    execFileSync('ip', ['netns', 'del', 'outside']);
  }
}

async function echoDatagram(address: string, port: number): Promise<string> {
  const socket = createSocket('udp4');
  const again = setInterval(() => socket.send(`hello to ${address}`, port, address), 500);
  socket.send(`hello to ${address}`, port, address);
  try {
    const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
    return message.toString();
  } finally {
    clearInterval(again);
    socket.close();
  }
}

function ipJson<T>(...args: readonly string[]): readonly T[] {
  return JSON.parse(execFileSync('ip', ['-j', ...args], { encoding: 'utf8' })) as T[];
}
