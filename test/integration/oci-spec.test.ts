/** The spec that the engine builds, run by the real runtimes: what the process inside sees is what was asked for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { detectHostCgroups } from '../../src/cgroups/host.ts';
import { buildSpec } from '../../src/containers/spec/build-spec.ts';
import { readHostFacts } from '../../src/containers/spec/read-host-facts.ts';
import type { SpecInput } from '../../src/containers/spec/spec-input.ts';
import { withMount, withSecurity } from '../../src/containers/spec/testing/sample-input.ts';

const inside = [
  'busybox id',
  'busybox cat /proc/self/status',
  'echo umask=$(umask) files=$(ulimit -n) home=$HOME host=$HOSTNAME oom=$(busybox cat /proc/self/oom_score_adj)',
  'busybox cat /etc/hosts /data/file',
  'busybox touch /data/new || echo data-is-read-only',
  'busybox touch /new || echo root-is-read-only',
  'busybox unshare -m true || echo unshare-is-refused',
  'busybox wc -c /proc/keys',
  'test -c /dev/null && echo dev-null',
].join('; ');

function makeBundle(directory: string): void {
  for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'data', 'tmp']) {
    mkdirSync(join(directory, 'rootfs', name), { recursive: true });
  }
  for (const name of ['hosts', 'hostname', 'resolv.conf'])
    writeFileSync(join(directory, 'rootfs/etc', name), '');
  copyFileSync('/bin/busybox', join(directory, 'rootfs/bin/busybox'));
  mkdirSync(join(directory, 'shm'));
  mkdirSync(join(directory, 'ns'));
  mkdirSync(join(directory, 'data'));
  writeFileSync(join(directory, 'hosts'), 'hosts-of-the-sandbox\n');
  writeFileSync(join(directory, 'data/file'), 'data-of-the-host\n');
  for (const name of ['net', 'ipc', 'uts']) writeFileSync(join(directory, 'ns', name), '');
}

function inputFor(directory: string, runtimeName: string): SpecInput {
  const facts = { runtimeName, recursiveReadOnlyMounts: false, idmappedMounts: false };
  const plain = withSecurity({
    seccomp: { type: 'runtime-default' },
    capabilities: { add: [], drop: ['ALL'], addAmbient: [] },
    readonlyRootfs: true,
    noNewPrivileges: true,
  });
  const files = {
    shm: `${directory}/shm`,
    hosts: `${directory}/hosts`,
    hostname: undefined,
    resolvConf: undefined,
  };
  const ns = `${directory}/ns`;
  return {
    ...plain,
    container: { ...plain.container, workingDir: '/tmp', command: ['/bin/busybox', 'sh', '-c', inside] },
    mounts: withMount({ hostPath: `${directory}/data`, readonly: true }).mounts,
    host: readHostFacts(facts, detectHostCgroups()),
    user: { uid: 1000, gid: 2000, supplementalGroups: [2000, 3000], home: '/home/app' },
    rootfs: `${directory}/rootfs`,
    cgroupsPath: `/gantry-spec-test-${process.pid}`,
    sandbox: { id: 'a', namespaces: { net: `${ns}/net`, ipc: `${ns}/ipc`, uts: `${ns}/uts` }, files },
  };
}

/** In a mount namespace of its own without cgroup2 beside v1, which crun 1.8 does not take. */
function run(directory: string, runtime: string): string {
  const script = `
    [ -d /sys/fs/cgroup/unified ] && umount /sys/fs/cgroup/unified
    for kind in net ipc uts; do mount --bind /proc/self/ns/$kind ${directory}/ns/$kind; done
    cd ${directory} && exec ${runtime} --root ${directory}/state run gantry-spec-test-${process.pid}`;
  return execFileSync('unshare', ['--mount', '--net', '--ipc', '--uts', 'sh', '-c', script], {
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

for (const runtime of ['crun', 'runc']) {
  test(`${runtime} runs a container as its spec says`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'gantry-spec-'));
    try {
      makeBundle(directory);
      writeFileSync(join(directory, 'config.json'), JSON.stringify(buildSpec(inputFor(directory, runtime))));
      const seen = run(directory, runtime);
      assert.match(seen, /uid=1000 gid=2000 groups=2000,3000/);
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
        assert.match(seen, new RegExp(`^${set}:\\s+0+$`, 'm'));
      }
      assert.match(seen, /^NoNewPrivs:\s+1$/m);
      assert.match(seen, /^Seccomp:\s+2$/m);
      assert.match(seen, /^umask=0022 files=1024 home=\/home\/app host=shop oom=0$/m);
      assert.match(seen, /hosts-of-the-sandbox\ndata-of-the-host/);
      for (const line of [
        'data-is-read-only',
        'root-is-read-only',
        'unshare-is-refused',
        '0 /proc/keys',
        'dev-null',
      ]) {
        assert.ok(seen.includes(line), line);
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}
