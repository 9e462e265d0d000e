/** crictl's logs, exec, attach and port-forward. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, renameSync } from 'node:fs';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Crictl, crictlSkipReason } from './engine/crictl.ts';
import { webPage } from './engine/images.ts';
import { containerSpec, idleSpec, podSpec, untilListening } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually, untilServed } from './engine/wait.ts';

const skip = engineSkipReason() ?? crictlSkipReason() ?? false;
const transports = ['spdy', 'websocket'] as const;

/** Says a line each 50 ms for as long as it runs, now and then on stderr. */
const chatter =
  'i=0; while :; do i=$((i+1)); echo "line $i"; [ $((i % 5)) = 0 ] && echo "aside $i" >&2; sleep 0.05; done';

describe('crictl: logs and streams', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let crictl: Crictl;
  let pod = '';
  let ip = '';
  let client = '';
  const podFile = podSpec('streams');

  const run = async (
    name: string,
    image: string,
    more: Readonly<Record<string, unknown>>,
  ): Promise<string> => {
    const spec = containerSpec(name, image, more);
    const id = await crictl.ok('create', pod, crictl.file(spec), crictl.file(podFile));
    await crictl.ok('start', id);
    return id;
  };

  before(async () => {
    node = await startTestNode();
    crictl = new Crictl();
    await crictl.ok('pull', node.images.busybox);
    await crictl.ok('pull', node.images.web);
    pod = await crictl.ok('runp', crictl.file(podFile));
    const { status } = await crictl.json<{ status: { network: { ip: string } } }>('inspectp', pod);
    ip = status.network.ip;
    await run('web', node.images.web, {});
    client = await run('client', node.images.busybox, { command: idleSpec('', '')['command'] });
    await untilServed(`http://${ip}/`);
  });
  after(async () => {
    crictl[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  test('logs shows both streams, the last lines, what came since a time, and bytes up to a limit', async () => {
    // Two streams keep their order in a log only with time between them.
    const script = 'echo one; echo two; sleep 1; echo wrong >&2; sleep 1; printf "no end"; sleep 1000';
    const id = await run('writer', node.images.busybox, { command: ['sh', '-c', script] });
    const shown = await eventually('the last line', async () => {
      const logs = await crictl.run(['logs', id]);
      return logs.stdout.includes('no end') ? logs : undefined;
    });
    assert.equal(shown.stdout.toString(), 'one\ntwo\nno end');
    assert.equal(shown.stderr, 'wrong\n');
    assert.equal(await crictl.ok('logs', '--tail', '2', id), 'no end');
    assert.equal(await crictl.ok('logs', '--since', '1h', '--limit-bytes', '4', id), 'one');
    assert.equal(await crictl.ok('logs', '--since', new Date(Date.now() + 3_600_000).toISOString(), id), '');
    const stamped = await crictl.ok('logs', '--timestamps', '--stream', 'stdout', id);
    assert.match(stamped, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S* one$/m);
    await crictl.ok('stop', '--timeout', '0', id);
  });

  test('logs -f follows until the container ends', async () => {
    const id = await run('chatter', node.images.busybox, { command: ['sh', '-c', chatter] });
    await using following = crictl.start(['logs', '--follow', id]);
    await following.untilOutput(/^line 10$/m);
    await following.untilOutput(/^aside 10$/m);
    await crictl.ok('stop', '--timeout', '0', id);
    const { exitCode, stdout } = await following.ended;
    assert.equal(exitCode, 0);
    const lines = stdout.toString().trim().split('\n');
    assert.deepEqual(
      lines,
      lines.map((_line, index) => `line ${index + 1}`),
    );
  });

  test('log rotation (kubernetes#110630): logs --reopen goes on in a new file, and nothing is lost', async () => {
    const id = await run('rotated', node.images.busybox, { command: ['sh', '-c', chatter] });
    await using following = crictl.start(['logs', '--follow', id]);
    await following.untilOutput(/^line 5$/m);
    await crictl.ok('exec', '--sync', client, 'true');
    const { status } = await crictl.json<{ status: { logPath: string } }>('inspect', id);
    renameSync(status.logPath, `${status.logPath}.1`);
    await crictl.ok('logs', '--reopen', '--tail', '0', id);
    await sleep(200);
    await crictl.ok('stop', '--timeout', '0', id);
    const numbers = [`${status.logPath}.1`, status.logPath]
      .flatMap((path) => readFileSync(path, 'utf8').trim().split('\n'))
      .flatMap((line) => / stdout F line (\d+)$/.exec(line)?.[1] ?? []);
    assert.ok(numbers.length > 5);
    assert.deepEqual(
      numbers,
      numbers.map((_number, index) => String(index + 1)),
    );
  });

  test('exec --sync gives output and exit status, and ends what takes too long', async () => {
    assert.equal(await crictl.ok('exec', '--sync', client, 'echo', 'a  b', 'c'), 'a  b c');
    const failed = await crictl.run([
      'exec',
      '--sync',
      client,
      'sh',
      '-c',
      'echo said; echo cried >&2; exit 7',
    ]);
    assert.match(failed.stderr, /exited with 7: cried/);
    const missing = await crictl.fails('exec', '--sync', client, '/absent');
    assert.match(missing, /\/absent/);
    const late = await crictl.fails(
      'exec',
      '--sync',
      '--timeout',
      '1',
      client,
      'sh',
      '-c',
      'sleep 987 & wait',
    );
    assert.match(late, /DeadlineExceeded|timed out|deadline/i);
    assert.doesNotMatch(await crictl.ok('exec', '--sync', client, 'ps'), /sleep 987/);
  });

  for (const transport of transports) {
    const exec = ['exec', '--transport', transport];

    test(`exec over ${transport}: input, both outputs, exit status`, async () => {
      const piped = await crictl.run(
        [...exec, '--interactive', client, 'sh', '-c', 'cat; echo end >&2'],
        'in\n',
      );
      assert.deepEqual([piped.stdout.toString(), piped.stderr, piped.exitCode], ['in\n', 'end\n', 0]);
      const failed = await crictl.run([...exec, client, 'sh', '-c', 'exit 42']);
      assert.match(failed.stderr, /command terminated with exit code 42/);
      assert.match(await crictl.fails(...exec, client, '/absent'), /\/absent/);
    });

    test(`exec -it over ${transport} below a terminal: a shell that is typed to`, async () => {
      await using shell = crictl.startInTerminal([...exec, '--interactive', '--tty', client, 'sh']);
      await shell.untilOutput(/\/ # /);
      shell.child.stdin?.write('stty size; tty; echo $((6 * 7))\r');
      const said = await shell.untilOutput(/^42\r?$/m);
      assert.match(said, /^30 100\r?$/m);
      assert.match(said, /^\/dev\/pts\/\d+\r?$/m);
      shell.child.stdin?.write('exit 9\r');
      assert.match((await shell.ended).stdout.toString(), /command terminated with exit code 9/);
    });

    test(`attach over ${transport}: what is typed arrives, what is said is seen, the container’s log has it too`, async () => {
      const id = await run(`cat-${transport}`, node.images.busybox, {
        command: ['sh', '-c', 'while read line; do echo "heard $line"; done; echo closed'],
        stdin: true,
        stdinOnce: true,
      });
      await using attached = crictl.start(['attach', '--transport', transport, '--stdin', id]);
      attached.child.stdin?.write('hello\n');
      await attached.untilOutput(/^heard hello$/m);
      attached.child.stdin?.end('last\n');
      const { stdout } = await attached.ended;
      assert.equal(stdout.toString(), 'heard hello\nheard last\nclosed\n');
      assert.equal(await crictl.ok('logs', id), 'heard hello\nheard last\nclosed');
    });

    test(`attach -it over ${transport} below a terminal`, async () => {
      const id = await run(`shell-${transport}`, node.images.busybox, {
        command: ['sh'],
        stdin: true,
        tty: true,
      });
      await using attached = crictl.startInTerminal([
        'attach',
        '--transport',
        transport,
        '--stdin',
        '--tty',
        id,
      ]);
      attached.child.stdin?.write('echo $((11 * 11))\r');
      await attached.untilOutput(/^121\r?$/m);
      attached.child.stdin?.write('exit 3\r');
      await attached.ended;
      const { status } = await crictl.json<{ status: { exitCode: number } }>('inspect', id);
      assert.equal(status.exitCode, 3);
    });

    test(`port-forward over ${transport}`, async () => {
      await using forwarded = crictl.start(['port-forward', '--transport', transport, pod, ':80']);
      const said = await forwarded.untilOutput(/Forwarding from 127\.0\.0\.1:\d+ -> 80/);
      const port = Number(/127\.0\.0\.1:(\d+)/.exec(said)?.[1]);
      for (let i = 0; i < 3; i += 1) {
        const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
        assert.equal(await answer.text(), webPage);
      }
    });

    test(`port-forward over ${transport} says which port nobody listens on`, async () => {
      await using forwarded = crictl.start(['port-forward', '--transport', transport, pod, ':81']);
      const said = await forwarded.untilOutput(/Forwarding from 127\.0\.0\.1:\d+ -> 81/);
      const socket = connect(Number(/127\.0\.0\.1:(\d+)/.exec(said)?.[1]), '127.0.0.1');
      assert.equal(await text(socket), '');
      await forwarded.untilOutput(/error forwarding port 81.*ECONNREFUSED/);
    });

    test(`port-forward over ${transport}: a connection that the pod resets ends, the others go on`, async () => {
      // What ends with unread input resets its connection.
      const command = ['nc', '-ll', '-p', '90', '-e', 'sh', '-c', 'echo hello; sleep 0.2'];
      const id = await run(`resetting-${transport}`, node.images.busybox, { command });
      await crictl.ok('exec', '--sync', id, ...untilListening(90));
      await using forwarded = crictl.start(['port-forward', '--transport', transport, pod, ':90', ':80']);
      const said = await forwarded.untilOutput(/Forwarding from 127\.0\.0\.1:\d+ -> 80/);
      const resetting = Number(/127\.0\.0\.1:(\d+) -> 90/.exec(said)?.[1]);
      const alive = Number(/127\.0\.0\.1:(\d+) -> 80/.exec(said)?.[1]);
      for (let i = 0; i < 3; i += 1) {
        const socket = connect(resetting, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.resume();
        socket.write('nobody reads this');
        await once(socket, 'close');
        assert.equal(await (await fetch(`http://127.0.0.1:${alive}/`)).text(), webPage);
      }
      await crictl.ok('stop', '--timeout', '0', id);
    });
  }

  test('what is not running cannot be executed in or attached to', async () => {
    const id = await crictl.ok(
      'create',
      pod,
      crictl.file(idleSpec('never-started', node.images.busybox)),
      crictl.file(podFile),
    );
    assert.match(await crictl.fails('exec', id, 'true'), /not running/);
    assert.match(await crictl.fails('exec', '--sync', id, 'true'), /not running/);
    assert.match(await crictl.fails('attach', id), /not running/i);
    assert.match(await crictl.fails('exec', 'abcdefabcdef', 'true'), /not found|NotFound/i);
  });
});
