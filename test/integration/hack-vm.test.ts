// test-host: host
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';

function start(t: TestContext, ...args: readonly string[]) {
  const child = spawn('hack/vm', ['--timeout', '150', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGTERM'));
  const lines: string[] = [];
  let stderr = '';
  const output = createInterface({ input: child.stdout });
  output.on('line', (line) => lines.push(line));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  const ended = once(child, 'close').then(() => ({ lines, stderr, exitCode: child.exitCode }));
  return { child, output, ended };
}

test('a VM has cgroup v2 alone, AppArmor and all capabilities, and hands back what the command says', async (t) => {
  const script = [
    'stat -f -c %T /sys/fs/cgroup',
    'for c in cpuset cpu io memory hugetlb pids; do grep -ow $c /sys/fs/cgroup/cgroup.subtree_control; done | wc -l',
    'cat /sys/module/apparmor/parameters/enabled',
    'echo -900 >/proc/self/oom_score_adj && cat /proc/self/oom_score_adj',
    'modprobe --all dummy vxlan ipvlan macvlan 8021q bridge veth sctp && echo links',
    'pwd; cat; echo "$GANTRY_WORD" >&2; exit 7',
  ].join('; ');
  process.env['GANTRY_WORD'] = "it's kept";
  t.after(() => delete process.env['GANTRY_WORD']);
  const vm = start(t, 'bash', '-c', script);
  vm.child.stdin.end('from outside\n');
  const { lines, stderr, exitCode } = await vm.ended;
  assert.deepEqual(lines, ['cgroup2fs', '6', 'Y', '-900', 'links', process.cwd(), 'from outside'], stderr);
  assert.match(stderr, /it's kept/);
  assert.equal(exitCode, 7);
});

test('a disk keeps what was synced when the VM is switched off like a loss of power', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-vm-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const disk = join(folder, 'disk');
  const options = ['--disk', disk, '--disk-size', '1G'];
  const first = start(
    t,
    ...options,
    'bash',
    '-c',
    'echo kept >/var/lib/gantry/a; sync; echo ready; sleep 1000',
  );
  first.child.stdin.end();
  await once(first.output, 'line');
  first.child.kill('SIGTERM');
  assert.equal((await first.ended).exitCode, 128);
  const second = start(t, ...options, 'cat', '/var/lib/gantry/a');
  second.child.stdin.end();
  const { lines, stderr, exitCode } = await second.ended;
  assert.deepEqual(lines, ['kept'], stderr);
  assert.equal(exitCode, 0);
  assert.deepEqual(globSync(join(tmpdir(), `gantry-vm-${first.child.pid}-*`)), []);
});

test('with systemd as PID 1 the command is a unit of its own', async (t) => {
  const vm = start(
    t,
    '--systemd',
    'bash',
    '-c',
    'cat /proc/1/comm /proc/self/cgroup; systemctl is-system-running; exit 5',
  );
  vm.child.stdin.end();
  const { lines, stderr, exitCode } = await vm.ended;
  assert.deepEqual(lines, ['systemd', '0::/system.slice/gantry-vm.service', 'running'], stderr);
  assert.equal(exitCode, 5);
});
