/**
 * Runs the demo's pod through the `gantry` command line and shows that it works, with the time that each step took:
 * `first-pod.ts IMAGE`. A pod that runs already is shown, not made again.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const podName = 'demo-web';
const cli = join(import.meta.dirname, '../../dist/cli.js');
const answerWithinMs = 10_000;

function gantry(...args: readonly string[]): string {
  return execFileSync(process.execPath, [cli, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** What the container wrote on both of its streams. */
function readLog(): string {
  const { stdout, stderr } = spawnSync(process.execPath, [cli, 'logs', podName], { encoding: 'utf8' });
  return `${stdout}${stderr}`;
}

interface Pod {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly ip: string;
}

function findPod(): Pod | undefined {
  const pods = JSON.parse(gantry('pods', '--json')) as Pod[];
  return pods.find((pod) => pod.name === podName);
}

/** Prints the step's duration and hands its value on. */
async function timed<Value>(name: string, step: () => Value | Promise<Value>): Promise<Value> {
  const startedAt = performance.now();
  const value = await step();
  console.log(`${String(Math.round(performance.now() - startedAt)).padStart(6)} ms  ${name}`);
  return value;
}

async function askWebServer(url: string): Promise<string> {
  const deadline = Date.now() + answerWithinMs;
  for (;;) {
    try {
      return await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${url} does not answer`, { cause: error });
      await sleep(20);
    }
  }
}

async function showPod(image: string): Promise<void> {
  const earlier = findPod();
  if (earlier?.state === 'ready') {
    console.log(`           the pod ${podName} runs already`);
  } else {
    if (earlier) gantry('rm', '--force', earlier.id);
    await timed('the image is pulled over HTTP', () => gantry('pull', image));
    await timed('the pod runs', () => gantry('run', '--name', podName, image));
  }
  const pod = findPod();
  if (!pod) throw new Error(`there is no pod ${podName}: gantryd's log says why`);
  const url = `http://${pod.ip}/`;
  const answer = await timed(`the web server answers on the pod's address`, () => askWebServer(url));
  const log = await timed('its log is read', readLog);
  console.log(`\n$ curl ${url}\n${answer.trimEnd()}\n\n$ gantry logs ${podName}\n${log.trimEnd()}`);
}

await showPod(process.argv[2] ?? '');
