/** The kubelet's checkpoint endpoint, and a pod whose image is a checkpoint: as Kubernetes' users save and move a container. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage, buildLayer, pushImage } from '../../src/images/testing/build-image.ts';
import { counter } from './engine/counter.ts';
import { criuSkipReason } from './engine/criu.ts';
import { eventually } from './engine/wait.ts';
import { script } from './kubelet/containers.ts';
import { ask, askText, podLog, podUrl, runInContainer, untilPod } from './kubelet/kubelet-api.ts';
import { KubeletNode, kubeletNodeSkipReason } from './kubelet/kubelet-node.ts';
import { isReady } from './kubelet/pod-status.ts';

const skip = kubeletNodeSkipReason() ?? criuSkipReason() ?? false;

describe('kubelet: checkpoints', { skip, timeout: 300_000 }, () => {
  let node: KubeletNode;
  let archive = '';

  before(async () => {
    node = await KubeletNode.start({
      toml: '[runtime]\ndefault_handler = "runc"\n[checkpoints]\nrestore_images = true\n',
    });
    const { busybox } = node.engine.images;
    node.addPod('saved', { containers: [script(busybox, 'counter', `echo kept > /file; ${counter}`)] });
    await untilPod('saved', 'is ready', isReady);
  });
  after(async () => await node[Symbol.asyncDispose]());

  const counts = async (pod: string): Promise<readonly number[]> =>
    (await podLog(pod, 'counter')).trim().split('\n').map(Number);
  const countBeyond = async (pod: string, limit: number): Promise<void> => {
    await eventually(`a count of ${pod} beyond ${limit}`, async () =>
      (await counts(pod)).some((one) => one > limit) ? true : undefined,
    );
  };

  test('POST /checkpoint saves a container, which runs on', async () => {
    await countBeyond('saved', 3);
    const answer = await askText('POST', podUrl('checkpoint', ['saved', 'counter'], { timeout: '60' }));
    [archive = ''] = (JSON.parse(answer) as { readonly items: readonly string[] }).items;
    assert.equal(statSync(archive).mode & 0o7777, 0o600);
    const names = execFileSync('tar', ['--list', '--force-local', `--file=${archive}`], { encoding: 'utf8' });
    // What Kubernetes' own test of this endpoint looks for.
    for (const name of ['spec.dump', 'config.dump', 'checkpoint/inventory.img'])
      assert.ok(names.split('\n').includes(name), name);
    await countBeyond('saved', Math.max(...(await counts('saved'))));
    const pod = await untilPod('saved', 'is ready', isReady);
    assert.equal(pod.status.containerStatuses?.[0]?.restartCount, 0);
  });

  test('a container that is not there', async () => {
    const answer = await ask('POST', podUrl('checkpoint', ['saved', 'nobody']));
    answer.resume();
    assert.equal(answer.statusCode, 404);
  });

  test('a pod whose image is the checkpoint goes on where it stood', async () => {
    const reference = await pushCheckpoint();
    const sysctls = [{ name: 'kernel.shm_rmid_forced', value: '1' }];
    node.addPod('moved', {
      securityContext: { sysctls },
      containers: [{ name: 'counter', image: reference }],
    });
    const pod = await untilPod('moved', 'is ready', isReady);
    assert.equal(pod.status.containerStatuses?.[0]?.restartCount, 0);
    await countBeyond('moved', 5);
    const [first = 0] = await counts('moved');
    assert.ok(first > 3, `began at ${first}`);
    assert.equal(await runInContainer('moved', 'counter', 'cat /file'), 'kept\n');
    // Of the pod, for all of its containers.
    assert.equal(await runInContainer('moved', 'counter', 'hostname'), 'moved-node1\n');
    assert.equal(await runInContainer('moved', 'counter', 'cat /proc/sys/kernel/shm_rmid_forced'), '1\n');
    await node.removeAllPods();
  });

  /** As `buildah from scratch; buildah add` of the archive makes it. */
  const pushCheckpoint = async (): Promise<string> => {
    const files = node.path('unpacked');
    mkdirSync(files);
    execFileSync('tar', ['--extract', '--force-local', `--file=${archive}`, `--directory=${files}`]);
    const names = (readdirSync(files, { recursive: true }) as string[]).filter((name) =>
      statSync(join(files, name)).isFile(),
    );
    const layer = await buildLayer(names.map((name) => ({ name, content: readFileSync(join(files, name)) })));
    const annotations = { 'io.kubernetes.cri-o.annotations.checkpoint.name': 'counter' };
    const { host } = node.engine.registry;
    const target = { registryUrl: `http://${host}`, repository: 'library/checkpoint', tag: 'one' };
    await pushImage(target, buildImage({ layers: [layer], config: {}, annotations }));
    return `${host}/library/checkpoint:one`;
  };
});
