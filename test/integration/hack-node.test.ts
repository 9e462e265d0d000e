// test-host: host
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { execFileSync, spawn } from 'node:child_process';
import { test, type TestContext } from 'node:test';

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | null;
}

function start(t: TestContext, ...args: readonly string[]) {
  const child = spawn('hack/node', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGTERM'));
  let stdout = '';
  let stderr = '';
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => (stdout += `${line}\n`));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  const ended: Promise<Ended> = once(child, 'close').then(() => ({
    stdout,
    stderr,
    exitCode: child.exitCode,
  }));
  return { child, lines, ended };
}

function leftovers(pid: number | undefined): string[] {
  return [
    ...globSync(`/sys/fs/cgroup/{*/,}gantry-node-*-${pid}-*`),
    ...globSync(`/var/tmp/gantry-node-*-${pid}-*`),
  ];
}

test('a node hands back output, input and exit status, and leaves nothing', async (t) => {
  const node = start(t, '--name', 'alpha', 'bash', '-c', 'hostname; cat; echo oops >&2; exit 7');
  node.child.stdin.end('from outside\n');
  const { stdout, stderr, exitCode } = await node.ended;
  assert.equal(stdout, 'alpha\nfrom outside\n');
  assert.equal(stderr, 'oops\n');
  assert.equal(exitCode, 7);
  assert.deepEqual(leftovers(node.child.pid), []);
});

test('a node has processes, links, cgroups and directories of its own', async (t) => {
  const script = [
    'echo "$(ps -e --no-headers | wc -l)"',
    'ls /sys/class/net | paste -sd" "',
    'grep -vc ":/$" /proc/self/cgroup || true',
    'touch /var/lib/gantry/here /etc/cni/net.d/here /run/here /etc/here /opt/here /var/log/here',
    'ip route show default | cut -d" " -f1-5',
    'findmnt --noheadings --output PROPAGATION /',
  ].join('; ');
  const node = start(t, 'bash', '-c', script);
  const { stdout, stderr } = await node.ended;
  const [processes, links, ...rest] = stdout.trimEnd().split('\n');
  assert.equal(stderr, '');
  // catatonit, bash, a subshell, ps and wc.
  assert.ok(Number(processes) <= 6, `${processes} processes`);
  assert.equal(links, 'eth0 lo');
  assert.deepEqual(rest, ['0', 'default via 198.51.100.1 dev eth0', 'shared']);
  for (const path of ['/var/lib/gantry', '/etc/cni/net.d', '/run', '/etc', '/opt', '/var/log']) {
    assert.ok(!existsSync(`${path}/here`), `${path}/here shows outside`);
  }
});

test('nodes that are joined by a bridge reach each other and have addresses of their own', async (t) => {
  const script = [
    'hack/node --join lan --name a bash -c "busybox httpd -p 80 -h /etc; echo up; sleep 100" | { read -r _;',
    'hack/node --join lan --name b bash -c "curl -sS http://203.0.113.11/hostname; curl -gsS http://[2001:db8:1::11]/hostname; ip -4 -br addr show dev eth0";',
    'kill -TERM $(pgrep -xf "bash hack/node --join lan --name a .*"); }',
  ].join(' ');
  const { stdout, stderr } = await start(t, 'bash', '-c', script).ended;
  assert.match(stdout, /^a\na\neth0@\S+ +UP +203\.0\.113\.12\/24 $/m, stderr);
});

test('SIGTERM reaches the command in the node', async (t) => {
  const node = start(t, 'bash', '-c', 'trap "echo told; exit 3" TERM; echo up; sleep 100 & wait');
  await once(node.lines, 'line');
  node.child.kill('SIGTERM');
  const { stdout, exitCode } = await node.ended;
  assert.equal(stdout, 'up\ntold\n');
  assert.equal(exitCode, 3);
  assert.deepEqual(leftovers(node.child.pid), []);
});

test('a node ends with hack/node however that ends, and the next one sweeps what is left', async (t) => {
  const node = start(t, 'bash', '-c', 'echo up; exec sleep 98765');
  await once(node.lines, 'line');
  node.child.kill('SIGKILL');
  // The node's processes hold the other end of its output.
  await node.ended;
  const sleeping = globSync('/proc/[0-9]*/cmdline').filter((path) => {
    try {
      return readFileSync(path, 'utf8') === 'sleep\0' + '98765\0';
    } catch {
      return false;
    }
  });
  assert.deepEqual(sleeping, []);
  assert.notDeepEqual(leftovers(node.child.pid), []);
  await start(t, 'true').ended;
  assert.deepEqual(leftovers(node.child.pid), []);
});

test('a node within a node leaves the outer one its files', async (t) => {
  const script = 'touch /var/lib/gantry/mine; hack/node --name inner hostname; ls /var/lib/gantry';
  const node = start(t, '--name', 'outer', 'bash', '-c', script);
  const { stdout, exitCode } = await node.ended;
  assert.equal(stdout, 'inner\nmine\n');
  assert.equal(exitCode, 0);
  assert.deepEqual(leftovers(node.child.pid), []);
});

test('what of a dead node cannot be removed yet does not keep a new one from starting', () => {
  const namespace = statSync('/proc/self/ns/pid').ino;
  // No process has such a number.
  const stale = `/var/tmp/gantry-node-${namespace}-99999999-1`;
  mkdirSync(stale);
  try {
    const script = `mount -t tmpfs tmpfs ${stale} && hack/node echo started`;
    const stdout = execFileSync('unshare', ['--mount', 'bash', '-c', script], { encoding: 'utf8' });
    assert.equal(stdout, 'started\n');
  } finally {
    rmSync(stale, { recursive: true, force: true });
  }
});
