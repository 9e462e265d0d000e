/** A whole node for a test file: registry, daemon, kubelet, and a folder of static pods. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildImage, buildLayer, pushImage } from '../../../src/images/testing/build-image.ts';
import { CriClient } from '../engine/cri-client.ts';
import { pushBusyboxVariant } from '../engine/images.ts';
import { assertNothingLeft, nodeState, type NodeState } from '../engine/leftovers.ts';
import { engineSkipReason, startTestNode, type TestNode } from '../engine/test-node.ts';
import { eventually } from '../engine/wait.ts';
import { type KubeletConfig, KubeletProcess, kubeletSkipReason } from './kubelet-process.ts';
import { listPods } from './kubelet-api.ts';

const podLogs = '/var/log/pods';
const podDirectories = '/var/lib/kubelet/pods';
const collectorMs = 90_000;

/** A pod's `spec` as Kubernetes has it. */
export type PodSpec = Readonly<Record<string, unknown>>;

/** Why no kubelet can drive the engine here, or undefined. */
export function kubeletNodeSkipReason(): string | undefined {
  return engineSkipReason() ?? kubeletSkipReason();
}

/** Why agnhost, the suite's own test program, is not there, or undefined. */
export function agnhostSkipReason(): string | undefined {
  return process.env['GANTRY_AGNHOST'] === undefined
    ? 'GANTRY_AGNHOST names no agnhost: hack/kubelet agnhost builds it (hack/test does both)'
    : undefined;
}

/** Pushes Kubernetes' agnhost, alone in its image. Returns its reference. */
async function pushAgnhost(registryHost: string): Promise<string> {
  const content = readFileSync(process.env['GANTRY_AGNHOST'] ?? '');
  const layer = await buildLayer(
    [
      { name: 'agnhost', mode: 0o755, content },
      { name: 'tmp/', type: 'directory', mode: 0o1777 },
    ],
    'none',
  );
  const image = buildImage({ layers: [layer], config: { Entrypoint: ['/agnhost'], Cmd: ['pause'] } });
  const repository = 'e2e/agnhost';
  await pushImage({ registryUrl: `http://${registryHost}`, repository, tag: 'latest' }, image);
  return `${registryHost}/${repository}:latest`;
}

export interface KubeletNodeOptions {
  /** Of the kubelet, on top of the usual configuration. */
  readonly config?: KubeletConfig;
  /** The daemon's configuration file. */
  readonly toml?: string;
  /** Whether pods will want agnhost. */
  readonly agnhost?: boolean;
  /** Repositories of further images, each busybox and a file of its own. */
  readonly variants?: readonly string[];
}

export class KubeletNode implements AsyncDisposable {
  readonly engine: TestNode;
  readonly kubelet: KubeletProcess;
  readonly cri: CriClient;
  /** Reference of agnhost's image; empty unless it was asked for. */
  readonly agnhost: string;
  /** References of the variants that were asked for. */
  readonly variants: readonly string[];
  readonly #manifests: string;
  readonly #before: NodeState;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: { engine: TestNode; kubelet: KubeletProcess; cri: CriClient; agnhost: string; variants: string[] },
    places: { manifests: string; before: NodeState },
    stack: AsyncDisposableStack,
  ) {
    this.engine = parts.engine;
    this.kubelet = parts.kubelet;
    this.cri = parts.cri;
    this.agnhost = parts.agnhost;
    this.variants = parts.variants;
    this.#manifests = places.manifests;
    this.#before = places.before;
    this.#stack = stack;
  }

  /** Starts all of it, with the images pulled. */
  static async start(options: KubeletNodeOptions = {}): Promise<KubeletNode> {
    const { config = {}, toml = '' } = options;
    await using stack = new AsyncDisposableStack();
    const engine = stack.use(await startTestNode(toml));
    const cri = stack.use(new CriClient());
    const { host } = engine.registry;
    const agnhost = options.agnhost === true ? await pushAgnhost(host) : '';
    const variants = await Promise.all(
      (options.variants ?? []).map((name) =>
        pushBusyboxVariant(host, name, { entries: [{ name: 'variant', content: name }] }),
      ),
    );
    for (const image of [engine.images.busybox, engine.images.web, agnhost, ...variants])
      if (image !== '') await cri.call('PullImage', { image: { image } });
    const before = nodeState();
    const manifests = join(engine.directory, 'manifests');
    mkdirSync(manifests);
    const kubelet = stack.use(await KubeletProcess.start(engine.directory, manifests, config));
    return new KubeletNode({ engine, kubelet, cri, agnhost, variants }, { manifests, before }, stack.move());
  }

  /** A path below the test's own directory. */
  path(name: string): string {
    return join(this.engine.directory, name);
  }

  /** Has the kubelet run a pod of the namespace `default`. */
  addPod(name: string, spec: PodSpec, metadata: Readonly<Record<string, unknown>> = {}): void {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', ...metadata },
      spec: { terminationGracePeriodSeconds: 5, ...spec },
    };
    // The kubelet passes over names that begin with a dot: it never reads half a file.
    const draft = join(this.#manifests, `.${name}.json`);
    writeFileSync(draft, JSON.stringify(pod));
    renameSync(draft, join(this.#manifests, `${name}.json`));
  }

  /** Takes the pod's manifest away; the kubelet ends the pod. */
  removePod(name: string): void {
    rmSync(join(this.#manifests, `${name}.json`));
  }

  /** Takes all manifests away and waits until the kubelet knows no pod and nothing of one runs any more. */
  async removeAllPods(): Promise<void> {
    for (const file of readdirSync(this.#manifests)) rmSync(join(this.#manifests, file));
    await eventually('the kubelet to have no pod', async () =>
      (await listPods()).length === 0 ? true : undefined,
    );
    await eventually('every pod to be stopped', async () => {
      const { containers } = await this.cri.call<{ containers: unknown[] }>('ListContainers', {
        filter: { state: { state: 'CONTAINER_RUNNING' } },
      });
      const { items } = await this.cri.call<{ items: unknown[] }>('ListPodSandbox', {
        filter: { state: { state: 'SANDBOX_READY' } },
      });
      return containers.length + items.length === 0 ? true : undefined;
    });
    // Volumes come last: nothing of a container may hold their mounts.
    await eventually('the kubelet to take away every volume', () =>
      readdirSync(podDirectories).length === 0 ? true : undefined,
    );
  }

  /** The kubelet's collector comes by once a minute: waits until it has taken away stopped pods and their logs. */
  async untilCollected(): Promise<void> {
    const deadline = Date.now() + collectorMs;
    for (;;) {
      const { items } = await this.cri.call<{ items: unknown[] }>('ListPodSandbox');
      const logs = readdirSync(podLogs);
      if (items.length + logs.length === 0) return;
      if (Date.now() > deadline)
        throw new Error(`not collected: ${items.length} sandboxes, logs ${logs.join(' ')}`);
      await sleep(200);
    }
  }

  /** Takes away what the kubelet's collector would have taken in a minute. */
  async collect(): Promise<void> {
    await this.kubelet.stop();
    const { items } = await this.cri.call<{ items: { id: string }[] }>('ListPodSandbox');
    for (const { id } of items) await this.cri.call('RemovePodSandbox', { podSandboxId: id });
    for (const name of readdirSync(podLogs)) rmSync(join(podLogs, name), { recursive: true });
  }

  /** Ends the kubelet and the daemon and asserts that nothing is left of any pod, and that nothing went wrong inside. */
  async assertNothingLeft(): Promise<void> {
    await this.kubelet.stop();
    await this.engine.daemon.stop();
    await assertNothingLeft(this.#before);
    const errors = this.engine.daemon.log.split('\n').filter((line) => line.includes('"level":"error"'));
    assert.deepEqual(errors, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
