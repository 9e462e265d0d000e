/** The real kubelet as a process of its own, without an API server: it runs what lies in its manifest folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { criSocket } from '../engine/daemon.ts';

/** Fields of a KubeletConfiguration that a test sets on top of the usual ones. */
export type KubeletConfig = Readonly<Record<string, unknown>>;

/** The name of the node that the kubelet says it is; static pods carry it as a suffix. */
export const nodeName = 'node1';
/** Plain HTTP, read only. */
export const readOnlyUrl = 'http://127.0.0.1:10255';

/** The emulated VM takes a minute to read the program. */
const readyTimeoutMs = process.env['GANTRY_TEST_HOST'] === 'vm' ? 240_000 : 60_000;
const never = '0%';

const usualConfig: KubeletConfig = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  address: '127.0.0.1',
  port: 10250,
  readOnlyPort: 10255,
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  failCgroupV1: false,
  failSwapOn: false,
  cgroupsPerQOS: false,
  enforceNodeAllocatable: [],
  cgroupDriver: 'cgroupfs',
  containerRuntimeEndpoint: `unix://${criSocket}`,
  podLogsDir: '/var/log/pods',
  syncFrequency: '5s',
  // Its firewall chains are none of the engine's.
  makeIPTablesUtilChains: false,
  // How full this machine's disk is must not decide about a test.
  evictionHard: {
    'memory.available': never,
    'nodefs.available': never,
    'nodefs.inodesFree': never,
    'imagefs.available': never,
    'imagefs.inodesFree': never,
  },
  imageGCHighThresholdPercent: 100,
};

/** Why there is no kubelet here, or undefined. */
export function kubeletSkipReason(): string | undefined {
  const program = process.env['GANTRY_KUBELET'];
  if (program === undefined)
    return 'GANTRY_KUBELET names no kubelet: hack/kubelet builds one (hack/test does both)';
  return existsSync(program) ? undefined : `${program} is missing: hack/kubelet builds it`;
}

export class KubeletProcess implements AsyncDisposable {
  readonly #directory: string;
  readonly #config: KubeletConfig;
  #child: ChildProcess | undefined;

  private constructor(directory: string, config: KubeletConfig) {
    this.#directory = directory;
    this.#config = config;
  }

  /** Starts it with its files below `directory` and manifests from `manifests`, and waits until it is healthy. */
  static async start(
    directory: string,
    manifests: string,
    config: KubeletConfig = {},
  ): Promise<KubeletProcess> {
    const kubelet = new KubeletProcess(directory, { ...usualConfig, staticPodPath: manifests, ...config });
    await kubelet.startAgain();
    return kubelet;
  }

  /** Everything that it has written so far, of all its lives. */
  get log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  get #logFile(): string {
    return join(this.#directory, 'kubelet.log');
  }

  /** SIGTERM, and waits for its end. Pods go on. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await promise;
    clearTimeout(killer);
  }

  /** Starts it after `stop`, with these fields of its configuration changed. */
  async startAgain(change: KubeletConfig = {}): Promise<void> {
    const file = join(this.#directory, 'kubelet.json');
    writeFileSync(file, JSON.stringify({ ...this.#config, ...change }));
    const log = openSync(this.#logFile, 'a');
    const child = spawn(
      process.env['GANTRY_KUBELET'] ?? '',
      ['--config', file, '--root-dir', '/var/lib/kubelet', '--hostname-override', nodeName],
      { stdio: ['ignore', log, log] },
    );
    closeSync(log);
    this.#child = child;
    await this.#untilHealthy(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    // Seen only when a test of the file fails.
    console.log(this.log.split('\n').slice(-150).join('\n'));
  }

  async #untilHealthy(child: ChildProcess): Promise<void> {
    const deadline = Date.now() + readyTimeoutMs;
    while (Date.now() < deadline) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the kubelet ended before it was ready:\n${this.log}`);
      const answer = await fetch(`${readOnlyUrl}/healthz`).catch(() => undefined);
      if ((await answer?.text()) === 'ok') return;
      await sleep(100);
    }
    throw new Error(`the kubelet does not answer:\n${this.log}`);
  }
}
