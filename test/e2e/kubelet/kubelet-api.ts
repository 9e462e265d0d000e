/** The kubelet's own endpoints: pods, logs, commands, metrics. */
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import { nodeName, readOnlyUrl } from './kubelet-process.ts';
import type { Pod } from './pod-status.ts';

const host = '127.0.0.1:10250';
const waitMs = 90_000;
// The kubelet's certificate is one that it made for itself.
const agent = new Agent({ rejectUnauthorized: false });

/** The name that the kubelet gives a static pod. */
export const fullName = (pod: string): string => `${pod}-${nodeName}`;

/** `https://127.0.0.1:10250/<verb>/default/<pod>-node1[/<container>]?<query>`; a value that is a list is repeated. */
export function podUrl(
  verb: string,
  [pod, container]: readonly [pod: string, container?: string],
  query: Readonly<Record<string, string | readonly string[]>> = {},
): URL {
  const path = [verb, 'default', fullName(pod), ...(container === undefined ? [] : [container])];
  const url = new URL(`https://${host}/${path.join('/')}`);
  for (const [key, value] of Object.entries(query))
    for (const one of typeof value === 'string' ? [value] : value) url.searchParams.append(key, one);
  return url;
}

/** One request; the answer is a stream. */
export async function ask(method: 'GET' | 'POST', url: URL): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(url, { method, agent }, resolve).once('error', reject).end();
  return await promise;
}

/** The whole body of an answer. @throws Error with the body when the status is not 200 */
export async function askText(method: 'GET' | 'POST', url: URL): Promise<string> {
  const answer = await ask(method, url);
  const body = await text(answer);
  if (answer.statusCode !== 200) throw new Error(`${method} ${url.href}: ${answer.statusCode} ${body}`);
  return body;
}

/** What `GET <path>` of the kubelet's secure port says. */
export async function kubeletText(path: string): Promise<string> {
  return await askText('GET', new URL(`https://${host}${path}`));
}

/** A container's log; `query` as the endpoint has it (`tailLines`, `previous`, `timestamps` ...). */
export async function podLog(
  pod: string,
  container: string,
  query: Readonly<Record<string, string>> = {},
): Promise<string> {
  return await askText('GET', podUrl('containerLogs', [pod, container], query));
}

/** Runs a command by the `run` endpoint, which cuts it at blanks; its stdout and stderr. */
export async function runInContainer(pod: string, container: string, command: string): Promise<string> {
  return await askText('POST', podUrl('run', [pod, container], { cmd: command }));
}

/** Every pod that the kubelet knows. */
export async function listPods(): Promise<readonly Pod[]> {
  const answer = await fetch(`${readOnlyUrl}/pods`);
  const { items } = (await answer.json()) as { readonly items: readonly Pod[] | null };
  return items ?? [];
}

/** Waits until the pod is as `reached` says. @throws Error with the pod's last status after a minute and a half */
export async function untilPod(name: string, what: string, reached: (pod: Pod) => boolean): Promise<Pod> {
  const deadline = Date.now() + waitMs;
  let last: Pod | undefined;
  while (Date.now() < deadline) {
    last = (await listPods()).find(({ metadata }) => metadata.name === fullName(name));
    if (last !== undefined && holds(reached, last)) return last;
    await sleep(200);
  }
  throw new Error(`waited in vain until the pod ${name} ${what}: ${JSON.stringify(last?.status, null, 1)}`);
}

/** A status that has no entry of the container yet is not there. */
function holds(reached: (pod: Pod) => boolean, pod: Pod): boolean {
  try {
    return reached(pod);
  } catch {
    return false;
  }
}
