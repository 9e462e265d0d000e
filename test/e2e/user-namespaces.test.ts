/** Pods with a user namespace of their own: root in them is nobody on the node. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { describeNode } from './engine/describe-node.ts';
import { pushBusyboxVariant } from './engine/images.ts';
import { assertNothingLeft, nodeState } from './engine/leftovers.ts';
import {
  createIn,
  exec,
  pidOf,
  pull,
  removePod,
  runPod,
  startIn,
  statusOf,
  type StartedPod,
  untilState,
} from './engine/pod-steps.ts';
import { containerSpec, idleSpec } from './engine/pods.ts';

/** Debian's, and newer ones. */
const runtimes: ReadonlyMap<string, string> = new Map([
  ['crun', 'crun'],
  ['runc', 'runc'],
  ['new-crun', process.env['GANTRY_NEW_CRUN'] ?? ''],
  ['new-runc', process.env['GANTRY_NEW_RUNC'] ?? ''],
]);

const range = { containerId: 0, hostId: 131_072, length: 65_536 };
const uids = [range];
const gids = [range];
const ids = { uidMappings: uids, gidMappings: gids };

function namespaces(more: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    namespaceOptions: {
      network: 'POD',
      pid: 'CONTAINER',
      ipc: 'POD',
      usernsOptions: { mode: 'POD', uids, gids },
      ...more,
    },
  };
}

for (const [runtime, path] of runtimes) {
  const toml = `[runtime]\ndefault_handler = "${runtime}"\n[runtime.handlers.${runtime}]\npath = "${path}"\n`;
  const skipReason =
    path === '' ? `${runtime} is not built: hack/runtime does it (hack/test runs it)` : undefined;
  describeNode(`user namespaces with ${runtime}`, { toml, skipReason }, ({ cri, node }) => {
    let busybox: string;

    before(() => {
      ({ busybox } = node.images);
    });

    const run = async (id: string, script: string): Promise<string> => {
      const { stdout, exitCode } = await exec(cri, id, 'sh', '-c', script);
      assert.equal(exitCode, 0, `${script}: ${stdout}`);
      return stdout.trim();
    };
    const mappedPod = async (
      name: string,
      more: Readonly<Record<string, unknown>> = {},
    ): Promise<StartedPod> => await runPod(cri, name, { linux: { securityContext: namespaces(), ...more } });
    const idle = (name: string, more: Readonly<Record<string, unknown>> = {}, security = namespaces()) =>
      idleSpec(name, busybox, { linux: { securityContext: security }, ...more });

    test('the default handler says that it has them', async () => {
      const { runtimeHandlers, features } = await cri.call<{
        runtimeHandlers: { name: string; features: { userNamespaces: boolean } }[];
        features: { userNamespacesHostNetwork: boolean };
      }>('Status', {});
      const ofDefault = runtimeHandlers.find(({ name }) => name === '');
      assert.equal(ofDefault?.features.userNamespaces, true, node.daemon.log);
      assert.equal(features.userNamespacesHostNetwork, true, node.daemon.log);
    });

    test('root of the pod owns its root file system and the pod’s files, and is nobody on the node', async () => {
      const state = nodeState();
      const pod = await mappedPod('mapped', {
        sysctls: { 'kernel.shm_rmid_forced': '1', 'net.ipv4.ip_unprivileged_port_start': '0' },
      });
      const id = await startIn(cri, pod, idle('main'));
      const pid = await pidOf(cri, id);
      assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^Uid:\s+131072\s+131072/m);
      assert.match(
        await run(id, 'cat /proc/self/uid_map /proc/self/gid_map'),
        /^0\s+131072\s+65536\n\s*0\s+131072\s+65536$/,
      );
      const owners = await run(
        id,
        'stat -c "%u:%g %n" / /bin/busybox /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm',
      );
      for (const line of owners.split('\n')) assert.match(line, /^0:0 /);
      await run(
        id,
        'echo "# mine" >>/etc/hosts; chown 5:6 /tmp; adduser -D -H someone; echo x >/dev/shm/x; mkdir /new',
      );
      assert.equal(await run(id, 'stat -c %u:%g /tmp /new'), '5:6\n0:0');
      assert.equal(
        await run(id, 'cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start'),
        '1\n0',
      );
      for (const kind of ['net', 'ipc', 'uts', 'user', 'pid', 'mnt'])
        assert.notEqual(readlinkSync(`/proc/${pid}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`), kind);
      assert.equal(await run(id, 'hostname; ls /sys/class/net | sort | xargs'), 'mapped\neth0 lo');
      assert.match(await run(id, 'mount'), / on \/dev\/mqueue type mqueue/);
      await run(id, 'echo >/dev/null; head -c 1 /dev/urandom >/dev/zero');
      await removePod(cri, pod.id);
      await assertNothingLeft(state);
    });

    test('volumes have the ids that the request maps, those that are not mapped are nobody’s', async () => {
      const state = nodeState();
      const [mapped, plain, other, hidden] = ['mapped', 'plain', 'other', 'hidden/deep'].map((name) => {
        const path = join(node.directory, name);
        mkdirSync(path, { recursive: true });
        writeFileSync(join(path, 'file'), '');
        chownSync(join(path, 'file'), 7, 8);
        return path;
      });
      // Nobody but the node's root may pass here: the runtime, inside of the user namespace, could not find what lies below.
      const guarded = { mode: 0o700, recursive: true } as const;
      mkdirSync(join(node.directory, 'guarded'), guarded);
      mkdirSync(join(node.directory, 'guarded/inner'), guarded);
      writeFileSync(join(node.directory, 'guarded/inner/file'), 'seen');
      const shifted = [{ containerId: 0, hostId: 200_000, length: 10 }];
      const mounts = [
        { hostPath: mapped, containerPath: '/mapped', ...ids },
        { hostPath: plain, containerPath: '/plain' },
        { hostPath: other, containerPath: '/other', uidMappings: shifted, gidMappings: shifted },
        {
          hostPath: join(node.directory, 'guarded/inner'),
          containerPath: '/guarded',
          readonly: true,
          ...ids,
        },
        { hostPath: join(hidden ?? '', 'file'), containerPath: '/file', ...ids },
      ];
      const pod = await mappedPod('volumes');
      const id = await startIn(cri, pod, idle('main', { mounts }));
      assert.equal(
        await run(id, 'stat -c %u:%g /mapped/file /plain/file /other/file /file'),
        '7:8\n65534:65534\n65534:65534\n7:8',
      );
      assert.equal(
        await run(id, 'cat /guarded/file; touch /guarded/x 2>&1 || true'),
        'seentouch: /guarded/x: Read-only file system',
      );
      await run(id, 'echo x >/mapped/new; chown 9:9 /mapped/new');
      assert.deepEqual(
        [statSync(join(mapped ?? '', 'new')).uid, statSync(join(mapped ?? '', 'new')).gid],
        [9, 9],
      );
      await removePod(cri, pod.id);
      assert.equal(statSync(join(mapped ?? '', 'file')).uid, 7, 'what is the user’s stays');
      await assertNothingLeft(state);
    });

    test('read-only with all that is mounted below, with a user namespace and without', async () => {
      const state = nodeState();
      const outer = join(node.directory, 'outer');
      mkdirSync(join(outer, 'inner'), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=1777', 'inner', join(outer, 'inner')]);
      const mounts = [
        { hostPath: outer, containerPath: '/all', readonly: true, recursiveReadOnly: true },
        { hostPath: outer, containerPath: '/top', readonly: true },
      ];
      for (const name of ['inside', 'outside']) {
        const security = name === 'inside' ? namespaces() : {};
        const pod = await runPod(cri, name, { linux: { securityContext: security } });
        const id = await startIn(cri, pod, idle('main', { mounts }, security));
        const touch = async (path: string): Promise<boolean> =>
          (await exec(cri, id, 'touch', path)).exitCode === 0;
        const writable = await Promise.all(
          ['/all/x', '/top/x', '/all/inner/x', `/top/inner/${name}`].map(touch),
        );
        assert.deepEqual(writable, [false, false, false, true], name);
        const { mounts: told } = await statusOf(cri, id);
        assert.deepEqual(
          told.map(({ recursiveReadOnly }) => recursiveReadOnly),
          [true, false],
        );
        if (name === 'outside') {
          // On the node nothing is kept busy while the container runs.
          execFileSync('umount', ['--lazy', join(outer, 'inner')]);
          rmdirSync(join(outer, 'inner'));
        }
        await removePod(cri, pod.id);
      }
      await assertNothingLeft(state);
    });

    test('what is mounted on the node is seen in a pod that asks for it, and goes there too', async () => {
      const state = nodeState();
      const shared = join(node.directory, 'shared');
      const [before, later] = [join(shared, 'before'), join(shared, 'later')];
      for (const path of [before, later]) mkdirSync(path, { recursive: true });
      const mount = (...words: string[]): void => void execFileSync('mount', words);
      mount('--bind', shared, shared);
      mount('--make-shared', shared);
      mount('-t', 'tmpfs', 'before', before);
      const mounts = [
        { hostPath: shared, containerPath: '/seen', propagation: 'PROPAGATION_HOST_TO_CONTAINER' },
      ];
      const pod = await mappedPod('propagation');
      const id = await startIn(cri, pod, idle('main', { mounts }));
      const seen = async (): Promise<string> =>
        await run(id, "grep -o '^[a-z]* /seen/[a-z]*' /proc/mounts || true");
      assert.equal(await seen(), 'before /seen/before');
      mount('-t', 'tmpfs', 'later', later);
      assert.equal(await seen(), 'before /seen/before\nlater /seen/later');
      for (const path of [before, later]) {
        execFileSync('umount', [path]);
        rmdirSync(path);
      }
      assert.equal(await seen(), '');
      await removePod(cri, pod.id);
      execFileSync('umount', [shared]);
      await assertNothingLeft(state);
    });

    test('images have them too: as a volume of the pod, and in the volumes that an image declares', async () => {
      const entries = [
        { name: 'data/', type: 'directory', mode: 0o750, uid: 3, gid: 4 } as const,
        { name: 'data/file', content: 'content', uid: 5, gid: 6 },
      ];
      const config = { Volumes: { '/data': {}, '/empty': {} } };
      const image = await pushBusyboxVariant(node.registry.host, 'library/volumes', { entries, config });
      await pull(cri, image);
      // Made with the first volume, and kept.
      mkdirSync('/var/lib/gantry/volumes', { recursive: true, mode: 0o700 });
      const state = nodeState();
      const pod = await mappedPod('images');
      const mounts = [
        { containerPath: '/image', image: { image }, imageSubPath: 'data', readonly: true, ...ids },
      ];
      const linux = { securityContext: namespaces() };
      const id = await startIn(cri, pod, idleSpec('main', image, { linux, mounts }));
      assert.equal(
        await run(id, 'stat -c %u:%g /data /data/file /empty /image /image/file'),
        '3:4\n5:6\n0:0\n3:4\n5:6',
      );
      await run(id, 'echo x >/data/new; echo x >/empty/new; chown 9 /empty/new');
      await removePod(cri, pod.id);
      await assertNothingLeft(state);
    });

    test('with the network of the node, with one PID namespace, and privileged', async () => {
      const state = nodeState();
      const kinds: readonly [
        name: string,
        options: Readonly<Record<string, unknown>>,
        privileged: boolean,
      ][] = [
        ['on-node', { network: 'NODE' }, false],
        ['one-pid', { pid: 'POD' }, false],
        ['privileged', {}, true],
      ];
      for (const [name, options, privileged] of kinds) {
        const securityContext = { ...namespaces(options), privileged };
        const pod = await runPod(cri, name, {
          linux: { securityContext },
          ...(name === 'on-node' ? { hostname: '' } : {}),
        });
        const id = await startIn(cri, pod, idleSpec('main', busybox, { linux: { securityContext } }));
        const pid = await pidOf(cri, id);
        assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^Uid:\s+131072/m, name);
        const isNodes = readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net');
        assert.equal(isNodes, name === 'on-node');
        assert.equal(await run(id, 'stat -c %u / ; ls -d /sys/class/net'), '0\n/sys/class/net');
        if (name === 'one-pid') assert.match(await run(id, 'cat /proc/1/cmdline'), /catatonit/);
        if (name === 'privileged')
          assert.match(await run(id, 'grep CapEff /proc/self/status'), /^CapEff:\s+0*[1-9a-f]/);
        await removePod(cri, pod.id);
      }
      await assertNothingLeft(state);
    });

    test('a /proc that is not masked may be had in a user namespace', async () => {
      const pod = await mappedPod('unmasked');
      const capabilities = { addCapabilities: ['NET_ADMIN'] };
      const security = { ...namespaces(), capabilities, maskedPaths: [], readonlyPaths: [] };
      const id = await startIn(cri, pod, idle('main', {}, security));
      assert.doesNotMatch(await run(id, 'mount'), / on \/proc\/\S+ /);
      await run(id, 'echo 1 >/proc/sys/net/ipv4/ip_unprivileged_port_start');
      const { exitCode } = await exec(cri, id, 'sh', '-c', 'echo 1 >/proc/sys/vm/overcommit_memory');
      assert.notEqual(exitCode, 0, 'what is the node’s stays the node’s');
      await removePod(cri, pod.id);
    });

    test('devices, a terminal, logs, statistics and a restart of the daemon', async () => {
      const pod = await mappedPod('various');
      const devices = [{ hostPath: '/dev/null', containerPath: '/dev/other-null', permissions: 'rw' }];
      const id = await startIn(cri, pod, idle('main', { devices }));
      assert.equal(await run(id, 'echo x >/dev/other-null; stat -c "%t:%T" /dev/other-null'), '1:3');
      const tty = await startIn(cri, pod, {
        ...containerSpec('tty', busybox, {
          command: ['tty'],
          tty: true,
          linux: { securityContext: namespaces() },
        }),
      });
      const { exitCode } = await untilState(cri, tty, 'CONTAINER_EXITED');
      assert.equal(exitCode, 0);
      assert.match(readFileSync('/var/log/pods/e2e_various/tty.log', 'utf8'), /\/dev\/(?:console|pts)/);
      const { stats } = await cri.call<{ stats: { memory: { workingSetBytes: { value: string } } } }>(
        'ContainerStats',
        { containerId: id },
      );
      assert.ok(Number(stats.memory.workingSetBytes.value) > 0);
      await node.daemon.kill();
      await node.daemon.startAgain();
      assert.equal(await run(id, 'id -u'), '0');
      const more = await startIn(cri, pod, idle('more'));
      assert.equal(await run(more, 'stat -c %u /etc/hosts'), '0');
      await removePod(cri, pod.id);
    });

    test('what cannot be had is refused by name, and leaves nothing', async () => {
      const state = nodeState();
      const refused: readonly [options: Readonly<Record<string, unknown>>, naming: RegExp][] = [
        [{ usernsOptions: { mode: 'CONTAINER' } }, /userns_options/],
        [{ usernsOptions: { mode: 'POD', uids: [range, range], gids: [range, range] } }, /one mapping/],
        [
          {
            usernsOptions: {
              mode: 'POD',
              uids: [{ ...range, containerId: 1 }],
              gids: [{ ...range, containerId: 1 }],
            },
          },
          /id 0/,
        ],
        [{ pid: 'NODE' }, /PID namespace/],
      ];
      for (const [options, naming] of refused)
        await assert.rejects(
          runPod(cri, 'refused', { linux: { securityContext: namespaces(options) } }),
          naming,
        );
      const pod = await mappedPod('refusing');
      const unmappable = [{ hostPath: '/proc/self', containerPath: '/x', ...ids }];
      await assert.rejects(createIn(cri, pod, idle('a', { mounts: unmappable })), /cannot map the ids/);
      const passedOut = [
        { hostPath: node.directory, containerPath: '/x', propagation: 'PROPAGATION_BIDIRECTIONAL' },
      ];
      await assert.rejects(createIn(cri, pod, idle('b', { mounts: passedOut })), /user namespace/);
      const strange = { ...namespaces(), runAsUser: { value: 70_000 } };
      await assert.rejects(createIn(cri, pod, idle('c', {}, strange)), /70000/);
      const nodes = namespaces({ usernsOptions: { mode: 'NODE' } });
      await assert.rejects(createIn(cri, pod, idle('d', {}, nodes)), /differs/);
      await removePod(cri, pod.id);
      await assertNothingLeft(state);
    });
  });
}
