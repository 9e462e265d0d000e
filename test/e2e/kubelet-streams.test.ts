// test-minutes: 10
/** The endpoints of the real kubelet (GANTRY_KUBELET, GANTRY_STREAM_CLIENT): logs, commands, ports, metrics. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { webPage } from './engine/images.ts';
import { eventually, untilServed } from './engine/wait.ts';
import { idler, script } from './kubelet/containers.ts';
import {
  ask,
  fullName,
  kubeletText,
  podLog,
  podUrl,
  runInContainer,
  untilPod,
} from './kubelet/kubelet-api.ts';
import { KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { readOnlyUrl } from './kubelet/kubelet-process.ts';
import { containerOf, isReady } from './kubelet/pod-status.ts';
import {
  forwardPort,
  resultOf,
  startStream,
  stream,
  streamClientSkipReason,
} from './kubelet/stream-client.ts';

const skip = kubeletNodeSkipReason() ?? streamClientSkipReason() ?? false;
const transports = ['spdy', 'websocket'] as const;
const mebibyte = 2 ** 20;

/** The parts of `/stats/summary` that the tests read. */
interface Summary {
  readonly node: { readonly fs?: { readonly capacityBytes: number } };
  readonly pods?: readonly {
    readonly podRef: { readonly name: string };
    readonly cpu?: { readonly usageCoreNanoSeconds?: number };
    readonly network?: { readonly rxBytes?: number; readonly name?: string };
    readonly containers: readonly {
      readonly name: string;
      readonly cpu?: { readonly usageCoreNanoSeconds?: number };
      readonly memory?: { readonly workingSetBytes?: number };
      readonly rootfs?: { readonly usedBytes?: number };
      readonly logs?: { readonly usedBytes?: number };
    }[];
  }[];
}

describe('kubelet: logs, streams and metrics', { skip }, () => {
  let node: KubeletNode;
  let busybox = '';

  before(async () => {
    node = await KubeletNode.start({
      config: { containerLogMaxSize: '20Ki', containerLogMaxFiles: 3, containerLogMonitorInterval: '3s' },
    });
    ({ busybox } = node.engine.images);
    node.addPod('main', {
      containers: [
        {
          name: 'web',
          image: node.engine.images.web,
          readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
        },
        idler(busybox, 'shell'),
        script(
          busybox,
          'lines',
          'for i in 1 2 3 4 5; do echo "line $i"; done; echo aside >&2; exec sleep 10000',
        ),
        script(busybox, 'sink', 'exec nc -ll -p 9999 -e sha256sum'),
      ],
    });
    node.addPod('talks', {
      restartPolicy: 'Never',
      containers: [script(busybox, 'main', 'for i in $(seq 30); do echo "word $i"; sleep 0.1; done')],
    });
    node.addPod('floods', {
      containers: [
        script(
          busybox,
          'main',
          'i=0; while :; do i=$((i+1)); echo "number $i of very many that there will be"; sleep 0.002; done',
        ),
      ],
    });
    node.addPod('interactive', {
      restartPolicy: 'Never',
      containers: [
        script(
          busybox,
          'reads',
          'while read line; do echo "got $line"; done; echo the end; exec sleep 10000',
          { stdin: true },
        ),
        script(busybox, 'terminal', 'exec sh', { stdin: true, tty: true }),
      ],
    });
    await untilPod('main', 'is ready', isReady);
  });
  after(async () => await node[Symbol.asyncDispose]());

  test('a log whole, its last lines, with times, and no more bytes than asked for', async () => {
    const whole = await eventually('all lines', async () => {
      const text = await podLog('main', 'lines');
      return text.includes('aside') ? text : undefined;
    });
    const lines = [1, 2, 3, 4, 5].map((number) => `line ${number}\n`);
    assert.deepEqual(whole.split(/(?<=\n)/).toSorted(), ['aside\n', ...lines]);
    assert.deepEqual(whole.replace('aside\n', ''), lines.join(''));
    assert.equal((await podLog('main', 'lines', { tailLines: '2' })).split('\n').length, 3);
    assert.match(
      await podLog('main', 'lines', { tailLines: '1', timestamps: 'true' }),
      /^2\d{3}-\d\d-\d\dT\S+Z \S/,
    );
    assert.equal(await podLog('main', 'lines', { limitBytes: '4' }), whole.slice(0, 4));
  });

  test('a log is followed until its container ends', async () => {
    const answer = await ask('GET', podUrl('containerLogs', ['talks', 'main'], { follow: 'true' }));
    assert.equal(answer.statusCode, 200);
    const words = Array.from({ length: 30 }, (_, index) => `word ${index + 1}\n`);
    assert.equal((await buffer(answer)).toString(), words.join(''));
  });

  test('the log of a container that is not there is an error', async () => {
    await assert.rejects(podLog('main', 'nobody'), /404/);
  });

  test('run', async () => {
    assert.equal(await runInContainer('main', 'shell', 'echo one two'), 'one two\n');
    await assert.rejects(runInContainer('main', 'shell', 'false'), /exit/);
    await assert.rejects(runInContainer('main', 'shell', '/no/such/program'), /no such file/i);
  });

  for (const transport of transports) {
    const inShell = { verb: 'exec', pod: 'main', container: 'shell' } as const;

    test(`exec over ${transport}: both outputs and the exit code`, async () => {
      const command = ['sh', '-c', 'echo out; echo err >&2; exit 42'];
      const { exitCode, stdout, stderr } = await stream(transport, { ...inShell, command });
      assert.equal(exitCode, 42, stderr);
      assert.equal(stdout.toString(), 'out\n');
      assert.match(stderr, /^err\n/);
    });

    test(`exec over ${transport}: 8 MiB in and out arrive whole, and the end of the input is heard`, async () => {
      const input = Buffer.alloc(8 * mebibyte, 'all work and no play\n');
      const { exitCode, stdout, stderr } = await stream(transport, { ...inShell, command: ['cat'], input });
      assert.equal(exitCode, 0, stderr);
      assert.ok(stdout.equals(input), `${stdout.length} of ${input.length} bytes`);
    });

    test(`exec over ${transport}: a terminal of the client’s size`, async () => {
      const command = [
        'sh',
        '-c',
        'until [ "$(stty size 2>/dev/null)" = "43 132" ]; do sleep 0.1; done; tty; exit 6',
      ];
      const { exitCode, stdout } = await stream(transport, { ...inShell, command, input: '', tty: true });
      assert.equal(exitCode, 6);
      assert.match(stdout.toString(), /^\/dev\/pts\/\d+\r\n$/);
    });

    test(`exec over ${transport}: a program that is not there is told`, async () => {
      const { exitCode, stderr } = await stream(transport, { ...inShell, command: ['/no/such/program'] });
      assert.notEqual(exitCode, 0);
      assert.match(stderr, /no such file/i);
    });

    test(`exec over ${transport}: the process ends when the client goes`, async () => {
      const mark = transport === 'spdy' ? '6161' : '6262';
      const client = startStream(transport, { ...inShell, command: ['sleep', mark], input: '' });
      const processes = async (): Promise<string> => await runInContainer('main', 'shell', 'ps -o args');
      await eventually('the process', async () =>
        (await processes()).includes(`sleep ${mark}`) ? true : undefined,
      );
      client.kill('SIGKILL');
      await eventually('the end of it', async () =>
        (await processes()).includes(`sleep ${mark}`) ? undefined : true,
      );
    });

    test(`attach over ${transport}: what the container reads and says`, async () => {
      const client = startStream(transport, {
        verb: 'attach',
        pod: 'interactive',
        container: 'reads',
        input: '',
      });
      const lines = createInterface({ input: client.stdout ?? process.stdin });
      const [[line]] = (await Promise.all([
        once(lines, 'line'),
        untilPod('interactive', 'runs', ({ status }) => status.phase === 'Running').then(() =>
          client.stdin?.write(`hello by ${transport}\n`),
        ),
      ])) as [[string], unknown];
      assert.equal(line, `got hello by ${transport}`);
      client.kill('SIGKILL');
      await once(client, 'exit');
    });

    test(`port-forward over ${transport}: a page, many at once, and 8 MiB whole`, async () => {
      await using forwarded = await forwardPort(transport, 'main', 80);
      assert.equal(await untilServed(`http://127.0.0.1:${forwarded.port}/`), webPage);
      const pages = await Promise.all(
        Array.from(
          { length: 20 },
          async () => await (await fetch(`http://127.0.0.1:${forwarded.port}/`)).text(),
        ),
      );
      assert.deepEqual(new Set(pages), new Set([webPage]));
      await runInContainer('main', 'web', 'dd if=/dev/urandom of=/www/big bs=1048576 count=8');
      const sum = await runInContainer('main', 'web', 'sha256sum /www/big');
      const bytes = Buffer.from(await (await fetch(`http://127.0.0.1:${forwarded.port}/big`)).arrayBuffer());
      assert.equal(bytes.length, 8 * mebibyte);
      assert.equal(await sha256(bytes), sum.slice(0, 64));
    });

    test(`port-forward over ${transport}: 8 MiB into the pod`, async () => {
      await using forwarded = await forwardPort(transport, 'main', 9999);
      const bytes = Buffer.alloc(8 * mebibyte, `${transport} carries this\n`);
      const socket = connect({ port: forwarded.port, host: '127.0.0.1', allowHalfOpen: true });
      socket.end(bytes);
      // The sum of what arrived comes back over the half of the connection that is still open.
      assert.equal((await buffer(socket)).toString().slice(0, 64), await sha256(bytes));
    });
  }

  test('attach to a terminal', async () => {
    const client = startStream('websocket', {
      verb: 'attach',
      pod: 'interactive',
      container: 'terminal',
      input: '',
      tty: true,
    });
    client.stdin?.write('echo $((6 * 7)); exit 3\n');
    const { stdout, exitCode } = await resultOf(client);
    assert.match(stdout.toString(), /\r\n42\r\n/);
    assert.equal(exitCode, 0);
    const pod = await untilPod(
      'interactive',
      'has lost its shell',
      (found) => containerOf(found, 'terminal').state.terminated !== undefined,
    );
    assert.equal(containerOf(pod, 'terminal').state.terminated?.exitCode, 3);
  });

  test('the resource metrics', async () => {
    const metrics = await eventually('metrics of every container', async () => {
      const text = await kubeletText('/metrics/resource');
      return /^container_memory_working_set_bytes\{container="shell"/m.test(text) ? text : undefined;
    });
    for (const name of [
      'container_cpu_usage_seconds_total',
      'container_memory_working_set_bytes',
      'container_start_time_seconds',
    ])
      for (const container of ['web', 'shell', 'lines'])
        assert.match(
          metrics,
          new RegExp(
            `^${name}\\{container="${container}",namespace="default",pod="${fullName('main')}"\\} [1-9\\d.e+-]+`,
            'm',
          ),
        );
    assert.match(metrics, /^scrape_error 0$|^resource_scrape_error 0$/m);
  });

  test('the summary', async () => {
    const pod = await eventually('a summary with the pod', async () => {
      const answer = await fetch(`${readOnlyUrl}/stats/summary`);
      const text = await answer.text();
      if (answer.status !== 200) return undefined;
      const summary = JSON.parse(text) as Summary;
      const found = summary.pods?.find(({ podRef }) => podRef.name === fullName('main'));
      const complete = found?.containers.every(
        ({ rootfs, memory }) => rootfs !== undefined && memory !== undefined,
      );
      return complete === true ? found : undefined;
    });
    assert.deepEqual(pod.containers.map(({ name }) => name).toSorted(), ['lines', 'shell', 'sink', 'web']);
    for (const { name, cpu, memory, logs } of pod.containers) {
      assert.ok((cpu?.usageCoreNanoSeconds ?? 0) > 0, name);
      assert.ok((memory?.workingSetBytes ?? 0) > 0, name);
      assert.ok((logs?.usedBytes ?? -1) >= 0, name);
    }
    // The big file that was made above.
    const web = pod.containers.find(({ name }) => name === 'web');
    assert.ok((web?.rootfs?.usedBytes ?? 0) >= 8 * mebibyte, JSON.stringify(web));
  });

  test('the kubelet rotates a log, and no line is lost between the files', async () => {
    const { metadata } = await untilPod('floods', 'is ready', isReady);
    const directory = `/var/log/pods/default_${metadata.name}_${metadata.uid}/main`;
    assert.ok(existsSync(directory));
    const names = await eventually('a compressed log', () => {
      const found = readdirSync(directory);
      return found.some((name) => name.endsWith('.gz')) ? found : undefined;
    });
    assert.ok(names.length <= 4, names.join(' '));
    const text = await eventually('two files that are not rotated while they are read', () => {
      const before = readdirSync(directory).toSorted();
      const last = before.findLast((name) => /^0\.log\.[\d-]+$/.test(name));
      if (last === undefined) return undefined;
      const both = [last, '0.log'].map((name) => readFileSync(join(directory, name), 'utf8')).join('');
      return before.join() === readdirSync(directory).toSorted().join() ? both : undefined;
    });
    const numbers = [...text.matchAll(/ F number (\d+) /g)].map(([, number]) => Number(number));
    assert.ok(numbers.length > 1);
    numbers.forEach((number, index) => assert.equal(number, (numbers[0] ?? 0) + index));
    assert.match(await podLog('floods', 'main', { tailLines: '1' }), /^number \d+ of very many/);
  });

  test('statistics by the CRI alone: networks in the summary, cAdvisor’s metrics from the engine, streamed lists', async () => {
    await node.kubelet.stop();
    await node.kubelet.startAgain({
      featureGates: { PodAndContainerStatsFromCRI: true, CRIListStreaming: true },
    });
    await untilPod('main', 'is ready', isReady);
    const pod = await eventually('the pod’s network in the summary', async () => {
      const answer = await fetch(`${readOnlyUrl}/stats/summary`);
      const text = await answer.text();
      if (answer.status !== 200) return undefined;
      const found = (JSON.parse(text) as Summary).pods?.find(
        ({ podRef }) => podRef.name === fullName('main'),
      );
      return found?.network === undefined ? undefined : found;
    });
    assert.equal(pod.network?.name, 'eth0');
    // The pages that were forwarded went over the loopback; the probes came over the network.
    assert.ok((pod.network?.rxBytes ?? 0) > 0);
    assert.deepEqual(pod.containers.map(({ name }) => name).toSorted(), ['lines', 'shell', 'sink', 'web']);
    const metrics = await eventually('metrics of the containers', async () => {
      const text = await kubeletText('/metrics/cadvisor');
      return /^container_cpu_usage_seconds_total\{.*container="web"/m.test(text) ? text : undefined;
    });
    for (const name of [
      'container_memory_working_set_bytes',
      'container_start_time_seconds',
      'container_processes',
      'container_spec_memory_limit_bytes',
      'container_fs_usage_bytes',
    ])
      assert.match(metrics, new RegExp(`^${name}\\{.*container="web".*pod="${fullName('main')}".*\\} `, 'm'));
    assert.match(
      metrics,
      new RegExp(`^container_network_receive_bytes_total\\{.*pod="${fullName('main')}".*\\} [1-9]`, 'm'),
    );
  });

  test('every pod goes, and nothing of them is left', async () => {
    await node.removeAllPods();
    await node.collect();
    await node.assertNothingLeft();
  });
});

async function sha256(bytes: Buffer): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))).toString('hex');
}
