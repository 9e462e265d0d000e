/** crictl's commands on images and on the engine itself. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { buildImage, buildLayer, pushImage } from '../../src/images/testing/build-image.ts';
import { Crictl, crictlSkipReason } from './engine/crictl.ts';
import { pushBusyboxVariant } from './engine/images.ts';
import { idleSpec, podSpec } from './engine/pods.ts';
import { engineSkipReason, startTestNode, type TestNode } from './engine/test-node.ts';
import { eventually } from './engine/wait.ts';
import type { ImageInfo } from './engine/wire.ts';

const skip = engineSkipReason() ?? crictlSkipReason() ?? false;

interface FsUsage {
  readonly fsId: { readonly mountpoint: string };
  readonly timestamp: string;
  readonly usedBytes: { readonly value: string };
  readonly inodesUsed: { readonly value: string };
}

describe('crictl: images and the engine', { skip, timeout: 180_000 }, () => {
  let node: TestNode;
  let crictl: Crictl;

  before(async () => {
    node = await startTestNode('[cni]\nconf_template = "/etc/cni/pods.template"\n');
    crictl = new Crictl();
  });
  after(async () => {
    crictl[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
  });

  const listed = async (...filter: readonly string[]): Promise<readonly ImageInfo[]> =>
    (await crictl.json<{ images: ImageInfo[] }>('images', '--output', 'json', ...filter)).images;

  test('version names the engine, its version and the interface', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    const lines = (await crictl.ok('version')).split('\n').map((line) => line.split(/:\s+/));
    assert.deepEqual(Object.fromEntries(lines), {
      Version: '0.1.0',
      RuntimeName: 'gantry',
      RuntimeVersion: version,
      RuntimeApiVersion: 'v1',
    });
  });

  test('runtime-config names the cgroup driver', async () => {
    assert.match(await crictl.ok('runtime-config'), /^cgroup driver:\s+(?:CGROUPFS|SYSTEMD)$/);
  });

  test('the network is not ready until update-runtime-config writes it; pods get addresses of it', async () => {
    const list = {
      cniVersion: '1.0.0',
      name: 'pods',
      plugins: [
        {
          type: 'bridge',
          bridge: 'pods0',
          isGateway: true,
          ipam: { type: 'host-local', ranges: [[{ subnet: '{{.PodCIDR}}' }]] },
        },
      ],
    };
    writeFileSync('/etc/cni/pods.template', JSON.stringify(list));
    const unready = await crictl.json<{ status: { conditions: Record<string, unknown>[] } }>('info');
    assert.deepEqual(unready.status.conditions[1]?.['status'], false);
    assert.equal(unready.status.conditions[1]?.['reason'], 'NetworkPluginNotReady');
    assert.match(
      await crictl.fails('update-runtime-config', '--pod-cidr', '10.61.0.0/33'),
      /pod_cidr|10\.61/,
    );
    await crictl.ok('update-runtime-config', '--pod-cidr', '10.61.7.0/24');
    await crictl.ok('pull', node.images.busybox);
    const pod = await eventually('a pod on the new network', async () => {
      const id = await crictl.ok('runp', crictl.file(podSpec('cidr')));
      const { status } = await crictl.json<{ status: { network: { ip: string } } }>('inspectp', id);
      if (/^10\.61\.7\.\d+$/.test(status.network.ip)) return id;
      await crictl.ok('rmp', '--force', id);
      return undefined;
    });
    await crictl.ok('rmp', '--force', pod);
    await crictl.ok('rmi', node.images.busybox);
  });

  test('info shows conditions, handlers and the configuration in force', async () => {
    const info = await crictl.json<{
      status: { conditions: { type: string; status: boolean }[] };
      runtimeHandlers: { name: string }[];
      features: Record<string, boolean>;
      config: { sandboxImage: string; root: string; stateDir: string };
    }>('info');
    const conditions = info.status.conditions.map(({ type, status }) => [type, status]);
    assert.deepEqual(conditions, [
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ]);
    const handlers = info.runtimeHandlers.map(({ name }) => name ?? '');
    assert.ok(
      handlers.includes('') && (handlers.includes('crun') || handlers.includes('runc')),
      handlers.join(),
    );
    assert.equal(info.features['supplemental_groups_policy'], true);
    const { root, sandboxImage, stateDir } = info.config;
    assert.deepEqual([root, sandboxImage, stateDir], ['/var/lib/gantry', '', '/var/lib/gantry/overlay']);
  });

  test('pull prints the image’s id; images and inspecti show it', async () => {
    const printed = await crictl.ok('pull', node.images.busybox);
    const [, id = ''] = /^Image is up to date for (sha256:[0-9a-f]{64})$/.exec(printed) ?? [];
    const { status, info } = await crictl.json<{
      status: ImageInfo;
      info: { layers: unknown[] } & Record<string, unknown>;
    }>('inspecti', node.images.busybox);
    assert.equal(status.id, id);
    assert.deepEqual(status.repoTags, [node.images.busybox]);
    assert.equal(status.repoDigests.length, 1);
    assert.match(
      status.repoDigests[0] ?? '',
      new RegExp(`^${node.images.busybox.replace(':latest', '')}@sha256:[0-9a-f]{64}$`),
    );
    assert.ok(Number(status.size) > 500_000, status.size);
    assert.equal(info.layers.length, 1);
    const table = await crictl.ok('images', '--no-trunc');
    assert.match(table, new RegExp(`^${node.registry.host}/library/busybox\\s+latest\\s+${id}\\s`, 'm'));
    assert.equal((await crictl.json<{ status: ImageInfo }>('inspecti', id.slice(7, 19))).status.id, id);
    const [byDigest = ''] = status.repoDigests;
    assert.equal((await crictl.json<{ status: ImageInfo }>('inspecti', byDigest)).status.id, id);
  });

  test('pull by digest, with a tag that is not there, without a registry, without a password', async () => {
    const [web] = await pushedDigest('library/web');
    const printed = await crictl.ok('pull', `${node.registry.host}/library/web@${web}`);
    assert.match(printed, /^Image is up to date for sha256:/);
    assert.match(
      await crictl.fails('pull', `${node.registry.host}/library/busybox:absent`),
      /busybox:absent.*not found|NotFound/,
    );
    assert.match(
      await crictl.fails('pull', '127.0.0.1:9/library/busybox'),
      /127\.0\.0\.1:9.*ECONNREFUSED|refused/,
    );
    assert.match(await crictl.fails('pull', 'not//a:reference'), /InvalidArgument|invalid reference|not a/i);
    assert.deepEqual(
      (await listed()).flatMap(({ repoTags }) => repoTags),
      [node.images.busybox],
    );
  });

  test('images filters by reference; rmi by one tag removes all tags of the image', async () => {
    const layer = await buildLayer([{ name: 'tags', content: 'the same in both' }]);
    const image = buildImage({ layers: [layer] });
    for (const tag of ['1', '2']) {
      await pushImage({ registryUrl: node.registry.url, repository: 'tags', tag }, image);
      await crictl.ok('pull', `${node.registry.host}/tags:${tag}`);
    }
    const [tags, ...others] = await listed(`${node.registry.host}/tags:1`);
    assert.deepEqual(others, []);
    assert.deepEqual(
      tags?.repoTags.toSorted(),
      ['1', '2'].map((tag) => `${node.registry.host}/tags:${tag}`),
    );
    assert.match(await crictl.ok('rmi', `${node.registry.host}/tags:2`), /Deleted: .*tags:1/);
    assert.deepEqual(await listed(`${node.registry.host}/tags:1`), []);
    assert.match(await crictl.fails('inspecti', `${node.registry.host}/tags:1`), /no such image/);
  });

  test('cri-tools#399: rmi --prune removes what no container uses, and only that', async () => {
    const pod = podSpec('prune');
    const used = node.images.busybox;
    await crictl.ok('pull', used);
    await crictl.ok(
      'pull',
      await pushBusyboxVariant(node.registry.host, 'unused', { config: { Cmd: ['true'] } }),
    );
    const podId = await crictl.ok('runp', crictl.file(pod));
    await crictl.ok('create', podId, crictl.file(idleSpec('user', used)), crictl.file(pod));
    await crictl.ok('rmi', '--prune');
    assert.deepEqual(
      (await listed()).flatMap(({ repoTags }) => repoTags),
      [used],
    );
    await crictl.ok('rmp', '--force', podId);
  });

  test('imagefsinfo shows where images are and what they take', async () => {
    const { status } = await crictl.json<{
      status: { imageFilesystems: FsUsage[]; containerFilesystems: FsUsage[] };
    }>('imagefsinfo');
    const [images] = status.imageFilesystems;
    assert.match(images?.fsId.mountpoint ?? '', /^\/var\/lib\/gantry/);
    assert.ok(Number(images?.usedBytes.value) > 500_000, images?.usedBytes.value);
    assert.ok(Number(images?.inodesUsed.value) > 100, images?.inodesUsed.value);
    assert.ok(BigInt(images?.timestamp ?? 0) > 1_700_000_000_000_000_000n);
    assert.equal(status.containerFilesystems.length, 1);
    // Else the kubelet's suite takes them for two disks.
    assert.deepEqual(status.containerFilesystems[0]?.fsId, status.imageFilesystems[0]?.fsId);
  });

  test('a pinned image is shown as such', async () => {
    await node.daemon.stop();
    node.daemon.configure(`[images]\npinned = ["${node.registry.host}/library/busy*"]\n`);
    await node.daemon.startAgain();
    const images = await listed();
    assert.deepEqual(
      images.map(({ repoTags, pinned }) => [repoTags[0], pinned]),
      [[node.images.busybox, true]],
    );
  });

  async function pushedDigest(repository: string): Promise<readonly string[]> {
    const answer = await fetch(`${node.registry.url}/v2/${repository}/manifests/latest`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    return [answer.headers.get('docker-content-digest') ?? ''];
  }
});
