/** Traces of requests: what `gantry trace` tells of them, and what a collector gets. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { RuntimeServiceService } from '../../src/gen/runtime/v1/api.ts';
import { startHttpReceiver, type OtlpReceiver } from '../../src/telemetry/traces/testing/otlp-receiver.ts';
import { rejectsWith } from './engine/cri-client.ts';
import { criSocket } from './engine/daemon.ts';
import { describeNode } from './engine/describe-node.ts';
import { exec, listPods, pull, removePod, runPod, startIn } from './engine/pod-steps.ts';
import { idleSpec } from './engine/pods.ts';
import { eventually } from './engine/wait.ts';

const main = join(import.meta.dirname, '../../src/cli/main.ts');

interface ShownPhase {
  readonly name: string;
  readonly startMs: number;
  readonly durationMs: number;
  readonly hasFailed: boolean;
  readonly phases: readonly ShownPhase[];
}

interface ShownTrace {
  readonly id: string;
  readonly traceId: string;
  readonly parentSpanId?: string;
  readonly method: string;
  readonly durationMs: number;
  readonly status: string;
  readonly error?: string;
  readonly podName?: string;
  readonly containerName?: string;
  readonly image?: string;
  readonly phases: readonly ShownPhase[];
}

async function gantry(...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [main, ...args])).stdout;
}

async function traces(...args: readonly string[]): Promise<readonly ShownTrace[]> {
  return JSON.parse(await gantry('trace', '--json', '--last', '1000', ...args)) as ShownTrace[];
}

function namesOf(phases: readonly ShownPhase[]): string[] {
  return phases.map(({ name }) => name);
}

function isInOrder(wanted: readonly string[], names: readonly string[]): boolean {
  let next = 0;
  for (const name of names) if (name === wanted[next]) next += 1;
  return next === wanted.length;
}

/** What the daemon, which is started later, exports to. */
let collector: OtlpReceiver;
before(async () => {
  collector = await startHttpReceiver();
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.endpoint;
  process.env['OTEL_BSP_SCHEDULE_DELAY'] = '100';
});
after(async () => await collector[Symbol.asyncDispose]());

describeNode('gantry trace', {}, ({ cri, node }) => {
  // In every place where a client can put a secret.
  const secret = randomBytes(16).toString('hex');

  test('a pod’s requests are told in order, with phases that explain their time', async () => {
    const pod = await runPod(cri, 'traced', { linux: { securityContext: { namespaceOptions: {} } } });
    const container = await startIn(cri, pod, idleSpec('app', node.images.busybox));
    assert.equal((await exec(cri, container, 'true')).exitCode, 0);
    await removePod(cri, pod.id);
    const shown = await traces('--pod', 'e2e/traced');
    const methods = ['RunPodSandbox', 'CreateContainer', 'StartContainer', 'ExecSync'];
    assert.deepEqual(
      shown.map(({ method }) => method),
      [...methods, 'StopPodSandbox', 'RemovePodSandbox'],
    );
    assert.ok(shown.every(({ status, podName }) => status === 'OK' && podName === 'traced'));
    const [run, create, start] = shown;
    assert.ok(run && create && start);
    assert.ok(isInOrder(['namespaces', 'network', 'files', 'record'], namesOf(run.phases)));
    const network = run.phases.find(({ name }) => name === 'network');
    assert.ok(isInOrder(['plugin bridge', 'plugin portmap'], namesOf(network?.phases ?? [])));
    assert.ok(isInOrder(['snapshot', 'spec', 'create in the runtime', 'record'], namesOf(create.phases)));
    assert.ok(namesOf(start.phases).includes('start in the runtime'));
    assert.deepEqual([create.containerName, start.containerName], ['app', 'app']);
    for (const { method, durationMs, phases } of [run, create, start]) {
      // One after the other: together they are never more than the whole.
      const sumMs = phases.reduce((sum, phase) => sum + phase.durationMs, 0);
      assert.ok(sumMs > 0 && sumMs <= durationMs + 0.01, `${method}: ${sumMs} of ${durationMs}`);
    }
    const waterfall = await gantry('trace', run.id);
    assert.match(waterfall, /^request {2}RunPodSandbox e2e\/traced$/m);
    assert.match(waterfall, /^ {2}plugin bridge +\S+ms +\S+ms +\| *=+ *\|$/m);
    const slowest = await gantry('trace', '--slowest', '--last', '3');
    assert.match(slowest, /^REQUEST +STARTED +TOOK +METHOD +OF +STATUS +MOSTLY IN\n(?:.+\n){3}$/);
  });

  test('a pull tells of its layers', async () => {
    await pull(cri, node.images.web);
    const [trace] = (await traces('--method', 'pullimage')).slice(-1);
    assert.ok(trace);
    assert.equal(trace.image, node.images.web);
    const [whole] = trace.phases;
    assert.ok(isInOrder(['manifest', 'commit'], namesOf(whole?.phases ?? [])));
    const layer = whole?.phases.find(({ name }) => /^layer sha256:[0-9a-f]{12}$/.test(name));
    const unpack = layer?.phases.find(({ name }) => name === 'unpack');
    assert.deepEqual(namesOf(unpack?.phases ?? []), ['download']);
  });

  test('a failed request shows where it failed, and what its client was told', async () => {
    const pod = await runPod(cri, 'failing');
    const absent = idleSpec('app', node.images.busybox, { command: ['/not/there'] });
    await assert.rejects(startIn(cri, pod, absent));
    await removePod(cri, pod.id);
    const shown = await traces('--failed', '--pod', 'failing');
    const [trace] = shown;
    assert.ok(trace && shown.length === 1);
    assert.match(trace.error ?? '', /\/not\/there/);
    const failed = trace.phases.filter(({ hasFailed }) => hasFailed);
    assert.match(namesOf(failed).join(), /in the runtime$/);
    assert.match(await gantry('trace', trace.id), /\| failed$/m);
    assert.match(node.daemon.log, new RegExp(`"request":"${trace.id}"`));
  });

  test('a client’s traceparent is joined, here and at the collector', async () => {
    const traceId = randomBytes(16).toString('hex');
    const spanId = randomBytes(8).toString('hex');
    const metadata = new Metadata();
    metadata.set('traceparent', `00-${traceId}-${spanId}-01`);
    const client = new Client(`unix:${criSocket}`, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = RuntimeServiceService.stopPodSandbox;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const request = { podSandboxId: 'ab'.repeat(32) };
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error) =>
      error === null ? resolve() : reject(error),
    );
    await promise.finally(() => client.close());
    const [trace, ...others] = await traces(traceId);
    assert.deepEqual([trace?.method, trace?.parentSpanId, others], ['StopPodSandbox', spanId, []]);
    const span = await eventually('the span at the collector', async () =>
      collector.spans.find((one) => one.traceId === traceId && one.parentSpanId === spanId),
    );
    assert.deepEqual([span.spanId, span.parentSpanId, span.name], [trace?.id, spanId, 'StopPodSandbox']);
    assert.equal(span.resource['service.name'], 'gantryd');
  });

  test('the collector gets requests with their phases', async () => {
    const [run] = await traces('--method', 'RunPodSandbox');
    assert.ok(run);
    const spans = await eventually('the pod’s spans', async () => {
      const found = collector.spans.filter(({ traceId }) => traceId === run.traceId);
      return found.length > 5 ? found : undefined;
    });
    const root = spans.find(({ spanId }) => spanId === run.id);
    assert.equal(root?.attributes['k8s.pod.name'], 'traced');
    const names = spans.filter(({ parentSpanId }) => parentSpanId === run.id).map(({ name }) => name);
    assert.deepEqual(names.toSorted(), namesOf(run.phases).toSorted());
  });

  test('secrets of clients are in no trace', async () => {
    const { host } = node.registry;
    const auth = { username: 'somebody', password: secret };
    const image = { image: `${host}/library/absent:latest` };
    await assert.rejects(cri.call('PullImage', { image, auth }));
    await assert.rejects(cri.call('PullImage', { image, auth: { registryToken: secret } }));
    await cri.call('PullImage', { image: { image: node.images.busybox }, auth });
    const pod = await runPod(cri, 'secretive', { annotations: { token: secret }, labels: { token: secret } });
    const envs = [{ key: 'TOKEN', value: secret }];
    const args = ['-c', `: ${secret}; sleep 1000`];
    const container = await startIn(cri, pod, idleSpec('app', node.images.busybox, { envs, args }));
    await cri.call('ExecSync', { containerId: container, cmd: ['echo', secret], timeout: 10 });
    await rejectsWith(
      cri.call('ExecSync', {
        containerId: container,
        cmd: ['sh', '-c', `sleep 100; : ${secret}`],
        timeout: 1,
      }),
      'DEADLINE_EXCEEDED',
      /timed out/,
    );
    const bad = idleSpec('bad', node.images.busybox, { envs, command: ['/not/there', secret] });
    await assert.rejects(startIn(cri, pod, bad));
    await removePod(cri, pod.id);
    const [last] = (await traces('--pod', 'secretive')).slice(-1);
    await eventually('the last span', async () => collector.spans.find(({ spanId }) => spanId === last?.id));
    assert.ok((await traces('--pod', 'secretive')).length >= 7);
    assert.ok(!(await gantry('trace', '--all', '--json', '--last', '1000')).includes(secret));
    assert.ok(!collector.bodies.some((body) => body.includes(secret)));
    assert.ok(!node.daemon.log.includes(secret));
  });

  test('only so many requests are kept, and the starts of pods outlast polls and probes', async () => {
    for (let index = 0; index < 300; index += 1) await listPods(cri);
    for (let index = 0; index < 250; index += 1)
      await cri.call('StopContainer', { containerId: 'cd'.repeat(32), timeout: 0 });
    const counts = Map.groupBy(await traces('--all'), ({ method }) => method);
    assert.equal(counts.get('ListPodSandbox')?.length, 50);
    assert.equal(counts.get('StopContainer')?.length, 200);
    assert.equal(counts.get('RunPodSandbox')?.[0]?.podName, 'traced');
    assert.equal(
      (await traces()).some(({ method }) => method === 'ListPodSandbox'),
      false,
    );
  });

  test('a request that is not kept is an error', async () => {
    await assert.rejects(gantry('trace', 'ffffffffffffffff'), /no request with the id "?ffffffffffffffff/);
    await assert.rejects(gantry('trace', '--last', '0'), /number from 1 to 1000/);
  });

  test('a request that is being worked on shows the phase that it is in', async () => {
    const pod = await runPod(cri, 'slow');
    const container = await startIn(cri, pod, idleSpec('app', node.images.busybox));
    const running = cri.call('ExecSync', { containerId: container, cmd: ['sleep', '30'], timeout: 60 });
    running.catch(() => undefined);
    const line = await eventually(
      'the command among the requests',
      async () =>
        /^.*ExecSync +e2e\/slow\/app +running.*$/m.exec(await gantry('trace', '--pod', 'slow'))?.[0],
    );
    assert.match(line, /running +run \d+/);
    await removePod(cri, pod.id);
    await running.catch(() => undefined);
  });
});
