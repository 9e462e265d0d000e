// test-minutes: 10
/** The real kubelet (GANTRY_KUBELET) gives static pods volumes and a security context on the engine. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { eventually } from './engine/wait.ts';
import { idler } from './kubelet/containers.ts';
import { runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { containerOf, isReady } from './kubelet/pod-status.ts';

const skip = kubeletNodeSkipReason() ?? false;

const apparmorSkip =
  existsSync('/sys/module/apparmor/parameters/enabled') &&
  readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y')
    ? false
    : 'this kernel runs without AppArmor';

describe('kubelet: volumes and security', { skip }, () => {
  let node: KubeletNode;
  let busybox = '';

  before(async () => {
    node = await KubeletNode.start();
    ({ busybox } = node.engine.images);
    addVolumePods();
    addSecurityPods();
  });
  after(async () => await node[Symbol.asyncDispose]());

  const run = async (pod: string, container: string, command: string): Promise<string> =>
    (await runInContainer(pod, container, command)).trim();

  function addVolumePods(): void {
    mkdirSync(node.path('shared'));
    const hostPath = { path: node.path('shared'), type: 'Directory' };
    const mountPath = '/hp';
    node.addPod('volumes', {
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
        { name: 'host', hostPath },
        { name: 'made', hostPath: { path: node.path('made/by-kubelet'), type: 'DirectoryOrCreate' } },
      ],
      containers: [
        idler(busybox, 'plain', {
          volumeMounts: [
            { name: 'host', mountPath },
            { name: 'disk', mountPath: '/disk' },
            { name: 'memory', mountPath: '/memory' },
            { name: 'disk', mountPath: '/part', subPath: 'a/part' },
            { name: 'made', mountPath: '/made', readOnly: true },
          ],
        }),
        idler(busybox, 'receives', {
          volumeMounts: [{ name: 'host', mountPath, mountPropagation: 'HostToContainer' }],
        }),
        idler(busybox, 'gives', {
          securityContext: { privileged: true },
          volumeMounts: [
            { name: 'host', mountPath, mountPropagation: 'Bidirectional' },
            { name: 'disk', mountPath: '/disk' },
          ],
        }),
      ],
    });
    node.addPod('wrong-host-path', {
      volumes: [{ name: 'host', hostPath: { path: node.path('nowhere'), type: 'Directory' } }],
      containers: [idler(busybox, 'main', { volumeMounts: [{ name: 'host', mountPath }] })],
    });
  }

  function addSecurityPods(): void {
    mkdirSync('/var/lib/kubelet/seccomp', { recursive: true });
    const profile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
    };
    writeFileSync('/var/lib/kubelet/seccomp/no-mkdir.json', JSON.stringify(profile));
    const secured = (name: string, securityContext: object): object =>
      idler(busybox, name, { securityContext });
    node.addPod('security', {
      securityContext: {
        runAsUser: 1000,
        runAsGroup: 3000,
        fsGroup: 2000,
        supplementalGroups: [4000],
        seccompProfile: { type: 'RuntimeDefault' },
        sysctls: [{ name: 'net.ipv4.ip_local_port_range', value: '20000 20100' }],
      },
      volumes: [{ name: 'disk', emptyDir: {} }],
      containers: [
        idler(busybox, 'usual', { volumeMounts: [{ name: 'disk', mountPath: '/disk' }] }),
        secured('other-user', { runAsUser: 33, runAsGroup: 33, allowPrivilegeEscalation: false }),
        secured('one-capability', {
          runAsUser: 0,
          capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
        }),
        secured('read-only', { runAsUser: 0, readOnlyRootFilesystem: true }),
        secured('privileged', { runAsUser: 0, privileged: true }),
        secured('no-mkdir', {
          runAsUser: 0,
          seccompProfile: { type: 'Localhost', localhostProfile: 'no-mkdir.json' },
        }),
        secured('unconfined', { seccompProfile: { type: 'Unconfined' } }),
      ],
    });
    node.addPod('not-root', {
      securityContext: { runAsNonRoot: true },
      containers: [idler(busybox, 'main')],
    });
  }

  test('volumes: on disk, in memory with a limit, a part of one, one of the host', async () => {
    await untilPod('volumes', 'is ready', isReady);
    await run('volumes', 'gives', 'touch /disk/a/part/seen');
    assert.equal(await run('volumes', 'plain', 'ls /part'), 'seen');
    const memory = (await run('volumes', 'plain', 'cat /proc/mounts'))
      .split('\n')
      .find((line) => line.includes(' /memory '));
    assert.match(memory ?? '', /^tmpfs /);
    assert.match(memory ?? '', /[ ,]size=8192k/);
    assert.ok(existsSync(node.path('made/by-kubelet')));
    await assert.rejects(run('volumes', 'plain', 'touch /made/file'), /Read-only file system/);
  });

  test('propagation: what is mounted on the host is seen where it was asked for, and so is the other way', async () => {
    await untilPod('volumes', 'is ready', isReady);
    const inner = join(node.path('shared'), 'from-host');
    mkdirSync(inner);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'from-host', inner]);
    try {
      assert.match(await run('volumes', 'receives', 'cat /proc/mounts'), /^from-host \/hp\/from-host tmpfs/m);
      assert.match(await run('volumes', 'gives', 'cat /proc/mounts'), /^from-host \/hp\/from-host tmpfs/m);
      assert.doesNotMatch(await run('volumes', 'plain', 'cat /proc/mounts'), /from-host/);
    } finally {
      execFileSync('umount', [inner]);
    }
    assert.doesNotMatch(await run('volumes', 'receives', 'cat /proc/mounts'), /from-host/);
    await run('volumes', 'gives', 'mkdir /hp/from-pod');
    await run('volumes', 'gives', 'mount -t tmpfs from-pod /hp/from-pod');
    assert.match(readFileSync('/proc/mounts', 'utf8'), /^from-pod \S+\/shared\/from-pod tmpfs/m);
    assert.match(await run('volumes', 'receives', 'cat /proc/mounts'), /^from-pod \/hp\/from-pod tmpfs/m);
    assert.doesNotMatch(await run('volumes', 'plain', 'cat /proc/mounts'), /from-pod/);
    await run('volumes', 'gives', 'umount /hp/from-pod');
    assert.doesNotMatch(readFileSync('/proc/mounts', 'utf8'), /^from-pod/m);
    rmSync(inner, { recursive: true });
  });

  test('a host path that is not what the pod says keeps it from starting', async () => {
    const { status } = await untilPod(
      'wrong-host-path',
      'waits',
      ({ status: { containerStatuses } }) => containerStatuses?.[0]?.state.waiting !== undefined,
    );
    assert.equal(status.phase, 'Pending');
    await eventually('the reason', () =>
      /hostPath type check failed: \S+\/nowhere is not a directory/.test(node.kubelet.log) ? true : undefined,
    );
  });

  test('users and groups, and the group of volumes', async () => {
    await untilPod('security', 'is ready', isReady);
    assert.equal(await run('security', 'usual', 'id -u'), '1000');
    assert.equal(await run('security', 'usual', 'id -g'), '3000');
    assert.deepEqual((await run('security', 'usual', 'id -G')).split(' ').toSorted(), [
      '2000',
      '3000',
      '4000',
    ]);
    assert.equal(await run('security', 'usual', 'stat -c %a:%g /disk'), '2777:2000');
    await run('security', 'usual', 'touch /disk/file');
    assert.equal(await run('security', 'usual', 'stat -c %u:%g /disk/file'), '1000:2000');
    assert.equal(await run('security', 'other-user', 'id -u'), '33');
    assert.equal(
      await run('security', 'usual', 'cat /proc/sys/net/ipv4/ip_local_port_range'),
      '20000\t20100',
    );
  });

  test('capabilities, privilege and a read-only root', async () => {
    await untilPod('security', 'is ready', isReady);
    const status = async (name: string): Promise<Map<string, string>> =>
      new Map(
        (await run('security', name, 'cat /proc/1/status'))
          .split('\n')
          .map((line) => line.split(/:\s*/, 2) as [string, string]),
      );
    assert.equal(
      Number.parseInt((await status('usual')).get('CapEff') ?? '', 16),
      0,
      'a plain user has none',
    );
    assert.equal((await status('one-capability')).get('CapEff'), '0000000000000400');
    assert.equal((await status('one-capability')).get('CapBnd'), '0000000000000400');
    assert.equal((await status('other-user')).get('NoNewPrivs'), '1');
    assert.equal((await status('usual')).get('NoNewPrivs'), '0');
    const own = /^CapBnd:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    assert.equal((await status('privileged')).get('CapEff'), own);
    await assert.rejects(run('security', 'read-only', 'touch /file'), /Read-only file system/);
  });

  test('seccomp: the default profile, one of the node’s, and none', async () => {
    await untilPod('security', 'is ready', isReady);
    const mode = async (name: string): Promise<string | undefined> =>
      /^Seccomp:\s*(\d)/m.exec(await run('security', name, 'cat /proc/1/status'))?.[1];
    assert.equal(await mode('usual'), '2');
    assert.equal(await mode('unconfined'), '0');
    assert.equal(await mode('privileged'), '0');
    await assert.rejects(run('security', 'usual', 'unshare -U true'), /Operation not permitted/);
    await assert.rejects(run('security', 'no-mkdir', 'mkdir /tmp/directory'), /Operation not permitted/);
    await run('security', 'no-mkdir', 'touch /tmp/file');
  });

  test('AppArmor: the default profile', { skip: apparmorSkip }, async () => {
    await untilPod('security', 'is ready', isReady);
    assert.match(await run('security', 'usual', 'cat /proc/1/attr/current'), /^\S+ \(enforce\)$/);
    assert.equal(await run('security', 'privileged', 'cat /proc/1/attr/current'), 'unconfined');
  });

  test('a user namespace: root inside is nobody outside, also in volumes', async (t) => {
    const { runtimeHandlers } = await node.cri.call<{
      runtimeHandlers: { name: string; features: { userNamespaces: boolean } | null }[];
    }>('Status');
    if (!runtimeHandlers.some(({ name, features }) => name === '' && features?.userNamespaces === true)) {
      t.skip('the OCI runtime of this host makes no user namespaces with idmapped mounts');
      return;
    }
    node.addPod('user-namespace', {
      hostUsers: false,
      volumes: [{ name: 'disk', emptyDir: {} }],
      containers: [idler(busybox, 'main', { volumeMounts: [{ name: 'disk', mountPath: '/disk' }] })],
    });
    const { metadata } = await untilPod('user-namespace', 'is ready', isReady);
    const [inside, outside] = (await run('user-namespace', 'main', 'cat /proc/self/uid_map')).split(/\s+/);
    assert.equal(inside, '0');
    assert.ok(Number(outside) >= 65_536, outside);
    await run('user-namespace', 'main', 'touch /disk/file');
    assert.equal(await run('user-namespace', 'main', 'stat -c %u /disk/file'), '0');
    const volume = `/var/lib/kubelet/pods/${metadata.uid}/volumes/kubernetes.io~empty-dir/disk`;
    assert.equal(statSync(join(volume, 'file')).uid, 0, 'the volume is mapped, not given away');
  });

  test('an image of root is refused where the pod must not be root', async () => {
    const pod = await untilPod(
      'not-root',
      'waits',
      (candidate) => containerOf(candidate, 'main').state.waiting?.reason === 'CreateContainerConfigError',
    );
    assert.match(
      containerOf(pod, 'main').state.waiting?.message ?? '',
      /container has runAsNonRoot and image will run as root/,
    );
  });

  test('every pod goes, and nothing of them is left', async () => {
    await node.removeAllPods();
    await node.collect();
    await node.assertNothingLeft();
  });
});
