/** From the request for a pod to the first answer of a web server in it. */
import { get } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decode, prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { busyboxReference, webPort } from '../images.ts';
import { type Pod, removePod, startPod } from '../pods.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const podsPerRound = 5;
const limitMs = 60_000;
const answerMs = 5000;

export async function firstByte(context: WorkloadContext): Promise<void> {
  const { measurements, registry, say } = context;
  const command = ['httpd', '-f', '-p', String(webPort), '-h', '/www'];
  await alternating(context, async (engine, round) => {
    for (let count = 0; count < podsPerRound; count += 1) {
      const startedAt = performance.now();
      const { pod } = await startPod(engine, { image: busyboxReference(registry), command });
      await untilServed(await addressOf(engine, pod));
      const ms = performance.now() - startedAt;
      measurements.add(
        { workload: 'first-byte', operation: 'pod to HTTP 200', unit: 'ms', engine: engine.name },
        ms,
      );
      await removePod(engine, pod);
    }
    say(`first-byte: ${engine.name}, round ${round + 1}`);
  });
}

async function addressOf({ cri }: Engine, { sandboxId }: Pod): Promise<string> {
  const answer = await cri.send(prepare('PodSandboxStatus', { podSandboxId: sandboxId }));
  return decode<{ status: { network: { ip: string } } }>('PodSandboxStatus', answer).status.network.ip;
}

async function untilServed(host: string): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await isServed(host))) {
    if (performance.now() > deadline) throw new Error(`nothing is served on ${host}`);
    await nextTurn();
  }
}

async function isServed(host: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const request = get({ host, port: webPort, agent: false, timeout: answerMs }, (response) => {
    response.resume();
    response.once('end', () => resolve(response.statusCode === 200));
  });
  request.once('timeout', () => request.destroy());
  request.once('error', () => resolve(false));
  return await promise;
}
