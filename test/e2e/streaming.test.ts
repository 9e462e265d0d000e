// test-minutes: 10
/** Exec and port-forward at full length: bulk both ways, half-close, terminals, tokens, clients that vanish. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertSameBytes, echoOver, randomBulk } from './engine/bulk.ts';
import { CriClient } from './engine/cri-client.ts';
import { Crictl, crictlSkipReason, type RunningCrictl, startProgram } from './engine/crictl.ts';
import { pushBusyboxVariant, programEntries } from './engine/images.ts';
import { containerSpec, podSpec, untilListening } from './engine/pods.ts';
import { PortChannels } from './engine/port-channels.ts';
import { RemoteCommand } from './engine/remote-command.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually } from './engine/wait.ts';
import { streamClientSkipReason } from './kubelet/stream-client.ts';

const skip = engineSkipReason() ?? false;
const bulkMebibytes = 100;
const echoPort = 7;
const transports = ['spdy', 'websocket'] as const;
const streamClient = process.env['GANTRY_STREAM_CLIENT'] ?? '';

/** A real client of the streaming server. */
interface StreamClient {
  readonly name: string;
  /** Why it cannot be had here. */
  readonly skip: string | undefined;
  exec(...cmd: readonly string[]): Promise<RunningCrictl>;
  portForward(): Promise<RunningCrictl>;
}

describe('streaming', { skip, timeout: 300_000 }, () => {
  let node: TestNode;
  let cri: CriClient;
  let crictl: Crictl;
  let podSandboxId = '';
  let containerId = '';

  before(async () => {
    node = await startTestNode();
    cri = new CriClient();
    crictl = new Crictl();
    // The listen queue of busybox's nc is too short for many connections at once.
    const image = await pushBusyboxVariant(node.registry.host, 'echo', {
      entries: programEntries('/usr/bin/socat'),
    });
    await cri.call('PullImage', { image: { image } });
    const pod = podSpec('streaming');
    ({ podSandboxId } = await cri.call<{ podSandboxId: string }>('RunPodSandbox', { config: pod }));
    const config = containerSpec('echo', image, {
      command: ['/usr/bin/socat', '-t', '60', `TCP4-LISTEN:${echoPort},fork,backlog=256`, 'EXEC:/bin/cat'],
    });
    const request = { podSandboxId, config, sandboxConfig: pod };
    ({ containerId } = await cri.call<{ containerId: string }>('CreateContainer', request));
    await cri.call('StartContainer', { containerId });
    await execSync(...untilListening(echoPort));
  });
  after(async () => {
    crictl[Symbol.dispose]();
    cri[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  async function execSync(...cmd: readonly string[]): Promise<string> {
    const { stdout } = await cri.call<{ stdout: Buffer }>('ExecSync', { containerId, cmd, timeout: 30 });
    return stdout.toString();
  }

  const execUrl = async (cmd: readonly string[], tty = false): Promise<string> => {
    const request = { containerId, cmd, tty, stdin: true, stdout: true, stderr: !tty };
    return (await cri.call<{ url: string }>('Exec', request)).url;
  };

  const portUrl = async (...port: readonly number[]): Promise<string> =>
    (await cri.call<{ url: string }>('PortForward', { podSandboxId, port })).url;

  const portForward = async (client: StreamClient): Promise<[RunningCrictl, number]> => {
    const forwarded = await client.portForward();
    const said = await forwarded.untilOutput(/Forwarding from 127\.0\.0\.1:\d+/);
    return [forwarded, Number(/127\.0\.0\.1:(\d+)/.exec(said)?.[1])];
  };

  const ofCrictl = (transport: string): StreamClient => ({
    name: `crictl over ${transport}`,
    skip: crictlSkipReason(),
    exec: async (...cmd) =>
      crictl.start(['exec', '--interactive', '--transport', transport, containerId, ...cmd]),
    portForward: async () =>
      crictl.start(['port-forward', '--transport', transport, podSandboxId, `:${echoPort}`]),
  });

  // The URLs are the same that the kubelet would be given, and this the library that kubectl is made with.
  const ofKubernetes = (transport: string): StreamClient => ({
    name: `kubectl’s library over ${transport}`,
    skip: streamClientSkipReason(),
    exec: async (...cmd) =>
      startProgram(streamClient, [transport, 'stream', `${await execUrl(cmd)}?input=1&output=1&error=1`]),
    portForward: async () => {
      return startProgram(streamClient, [
        transport,
        'port-forward',
        await portUrl(echoPort),
        `0:${echoPort}`,
      ]);
    },
  });

  test(`${bulkMebibytes} MiB through exec over WebSocket and back, ended by a half-close`, async () => {
    const bulk = randomBulk(bulkMebibytes);
    using command = await RemoteCommand.open(await execUrl(['cat']));
    for (let start = 0; start < bulk.length; start += 32 * 1024)
      await command.write(bulk.subarray(start, start + 32 * 1024));
    await command.closeStdin();
    assert.deepEqual((await command.ended())?.status, 'Success');
    assertSameBytes(command.stdout, bulk);
  });

  for (const client of transports.flatMap((transport) => [ofCrictl(transport), ofKubernetes(transport)])) {
    describe(client.name, { skip: client.skip ?? false }, () => {
      test(`${bulkMebibytes} MiB through exec and back`, async () => {
        const bulk = randomBulk(bulkMebibytes);
        await using running = await client.exec('cat');
        running.child.stdin?.end(bulk);
        const { exitCode, stdout, stderr } = await running.ended;
        assert.equal(exitCode, 0, stderr);
        assertSameBytes(stdout, bulk);
      });

      test(`${bulkMebibytes} MiB through port-forward and back`, async () => {
        const bulk = randomBulk(bulkMebibytes);
        const [forwarded, port] = await portForward(client);
        await using _ = forwarded;
        assertSameBytes(await echoOver(port, bulk), bulk);
      });

      test('32 connections at once through one port-forward', async () => {
        const [forwarded, port] = await portForward(client);
        await using _ = forwarded;
        const all = Array.from({ length: 32 }, async () => {
          const bulk = randomBulk(1);
          assertSameBytes(await echoOver(port, bulk), bulk);
        });
        await Promise.all(all);
      });

      test('a client killed in the middle leaves no process and no descriptor', async () => {
        const before = await settledDescriptors();
        await using waiting = await client.exec('sh', '-c', 'echo up; sleep 4242');
        await waiting.untilOutput(/^up$/m);
        await using flooding = await client.exec('sh', '-c', 'echo up; exec yes flood');
        await flooding.untilOutput(/^flood$/m);
        const [forwarded, port] = await portForward(client);
        await using _ = forwarded;
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write('echo this');
        await new Promise((resolve) => socket.once('data', resolve));
        for (const { child } of [waiting, flooding, forwarded]) child.kill('SIGKILL');
        await nothingRuns();
        await descriptorsAre(before);
        socket.destroy();
      });
    });
  }

  test(`${bulkMebibytes} MiB through each of two ports of one WebSocket and back, without SPDY`, async () => {
    const bulks = [randomBulk(bulkMebibytes), randomBulk(bulkMebibytes)];
    using client = await PortChannels.open(await portUrl(echoPort, echoPort));
    const all = bulks.map(async (bulk, place) => {
      for (let start = 0; start < bulk.length; start += 32 * 1024)
        await client.write(place, bulk.subarray(start, start + 32 * 1024));
      assertSameBytes(await client.read(place, bulk.length), bulk);
    });
    await Promise.all(all);
    assert.deepEqual(await client.said(0), { ports: [echoPort, echoPort], error: '' });
  });

  test('port-forward over WebSocket without SPDY: ports by the URL, a closed port, none, a bad one', async () => {
    using named = await PortChannels.open(`${await portUrl()}?port=${echoPort}&port=9`);
    await named.write(0, Buffer.from('echoed'));
    assert.equal(String(await named.read(0, 6)), 'echoed');
    await named.read(1, 0);
    const closed = await eventually('the closed port to be told', async () => {
      const said = await named.said(1);
      return said.error === '' ? undefined : said;
    });
    assert.deepEqual(closed.ports, [9, 9]);
    assert.match(closed.error, /error forwarding port 9: .*refused/);
    using alone = await PortChannels.open(await portUrl(9));
    assert.equal(await alone.closed(), 1000);
    assert.match((await alone.said(0)).error, /refused/);
    for (const query of ['', '?port=', '?port=http', '?port=0', '?port=65536'])
      await assert.rejects(PortChannels.open((await portUrl()) + query), /400/, query);
    await assert.rejects(PortChannels.open(await portUrl(echoPort), 'v5.channel.k8s.io'), /403/);
    await assert.rejects(cri.call('PortForward', { podSandboxId, port: [70_000] }), /70000 is not a port/);
  });

  test('port-forwards over WebSocket that break off leave no process and no descriptor', async () => {
    const before = await settledDescriptors();
    for (let i = 0; i < 20; i += 1) {
      using client = await PortChannels.open(await portUrl(echoPort, echoPort));
      await client.write(i % 2, Buffer.from('x'));
      await client.read(i % 2, 1);
    }
    await descriptorsAre(before);
  });

  test('exit status, both outputs, and why a program does not start', async () => {
    using failing = await RemoteCommand.open(await execUrl(['sh', '-c', 'echo out; echo err >&2; exit 42']));
    const status = await failing.ended();
    assert.deepEqual([failing.stdout.toString(), failing.stderr.toString()], ['out\n', 'err\n']);
    assert.deepEqual([status?.status, status?.reason], ['Failure', 'NonZeroExitCode']);
    assert.deepEqual(status?.details?.causes, [{ reason: 'ExitCode', message: '42' }]);
    using missing = await RemoteCommand.open(await execUrl(['/absent-program']));
    assert.match((await missing.ended())?.message ?? '', /absent-program/);
    using killed = await RemoteCommand.open(await execUrl(['sh', '-c', 'kill -9 $$']));
    assert.deepEqual((await killed.ended())?.details?.causes[0]?.message, '137');
  });

  test('a terminal is as large as the client says, and follows it', async () => {
    const script = 'trap "stty size" WINCH; echo ready; while :; do sleep 0.05; done';
    using shell = await RemoteCommand.open(await execUrl(['sh', '-c', script], true));
    await shell.untilStdout(/ready/);
    await shell.resize(120, 40);
    await shell.untilStdout(/^40 120\r$/m);
    await shell.resize(61, 17);
    await shell.untilStdout(/^17 61\r$/m);
    await shell.write('\u0003');
    assert.equal((await shell.ended())?.details?.causes[0]?.message, '130');
  });

  test('a process that reads slowly holds its client back, and gets everything', async () => {
    const bulk = randomBulk(8);
    using command = await RemoteCommand.open(await execUrl(['sh', '-c', 'sleep 1; sha256sum']));
    await command.write(bulk);
    await command.closeStdin();
    assert.equal((await command.ended())?.status, 'Success');
    assert.match(command.stdout.toString(), new RegExp(createHash('sha256').update(bulk).digest('hex')));
  });

  test('a URL works once, for an upgrade, and not for a plain request', async () => {
    const url = await execUrl(['true']);
    assert.equal((await fetch(url)).status, 400);
    using first = await RemoteCommand.open(url);
    assert.equal((await first.ended())?.status, 'Success');
    await assert.rejects(RemoteCommand.open(url), /404/);
    const guessed = url.replace(/[^/]+$/, 'guessed');
    await assert.rejects(RemoteCommand.open(guessed), /404/);
    const other = (await execUrl(['true'])).replace('/exec/', '/attach/');
    await assert.rejects(RemoteCommand.open(other), /404/);
  });

  test('a WebSocket that breaks off leaves no process and no descriptor', async () => {
    const before = await settledDescriptors();
    for (let i = 0; i < 10; i += 1) {
      using command = await RemoteCommand.open(await execUrl(['sh', '-c', 'echo up; sleep 4242']));
      await command.untilStdout(/up/);
    }
    await nothingRuns();
    await descriptorsAre(before);
  });

  test('a URL that was not used in time is refused', async () => {
    await node.daemon.stop();
    node.daemon.configure('[streaming]\ntoken_ttl_seconds = 1\n');
    await node.daemon.startAgain();
    const url = await execUrl(['true']);
    await sleep(1500);
    await assert.rejects(RemoteCommand.open(url), /404/);
  });

  /** Once what came before has been let go of: the same twice in a row. */
  async function settledDescriptors(): Promise<readonly string[]> {
    let last: readonly string[] = [];
    return await eventually('descriptors to settle', async () => {
      const now = node.daemon.descriptors();
      const isSettled = now.join() === last.join();
      last = now;
      if (!isSettled) await sleep(300);
      return isSettled ? now : undefined;
    });
  }

  /** Nothing came to what it had: threads that were idle may have let go of theirs. */
  async function descriptorsAre(before: readonly string[]): Promise<void> {
    let extra: readonly string[] = [];
    await eventually('descriptors as before', () => {
      const known = [...before];
      extra = node.daemon.descriptors().filter((one) => {
        const place = known.indexOf(one);
        if (place >= 0) known.splice(place, 1);
        return place < 0;
      });
      return extra.length === 0 ? true : undefined;
    }).catch(() => assert.deepEqual(extra, []));
  }

  /** No process of an exec of these tests is in the container. */
  async function nothingRuns(): Promise<void> {
    await eventually('the end of what clients had started', async () =>
      /sleep 4242|yes flood/.test(await execSync('ps')) ? undefined : true,
    );
  }
});
