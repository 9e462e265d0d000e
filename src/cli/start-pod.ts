/** The steps of `gantry run`, undone in reverse when one fails or is interrupted. */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { Cri } from './client.ts';
import { containerConfig, imageSpec, podConfig, removeLogs, runLabel, type PodOfOne } from './pod-of-one.ts';
import { podStateName } from './states.ts';

export interface StartedPod {
  readonly podId: string;
  readonly containerId: string;
  /** Empty on the host's network. */
  readonly ip: string;
}

/** How long a pod may take to start, which includes the network's plugins. */
const startTimeoutMs = 240_000;

/**
 * Fetches the image if it is missing, then makes and starts the pod. Whatever stops it, nothing of the pod is left.
 *
 * @throws EngineError; the signal's reason
 */
export async function startPod(cri: Cri, pod: PodOfOne, signal: AbortSignal): Promise<StartedPod> {
  await refuseSecond(cri, pod.name);
  await pullIfMissing(cri, pod.image, signal);
  const options = { timeoutMs: startTimeoutMs, signal };
  const sandboxConfig = podConfig(pod);
  await using undo = new AsyncDisposableStack();
  // A call that was cut off may still have made the pod: it is found by its label, not by the answer.
  undo.defer(async () => await removePodsOf(cri, pod.uid));
  const { podSandboxId: podId } = await cri.runtime.runPodSandbox({ config: sandboxConfig }, options);
  const { containerId } = await cri.runtime.createContainer(
    { podSandboxId: podId, config: containerConfig(pod), sandboxConfig },
    options,
  );
  await cri.runtime.startContainer({ containerId }, options);
  const { status } = await cri.runtime.podSandboxStatus({ podSandboxId: podId }, options);
  undo.move();
  return { podId, containerId, ip: status?.network?.ip ?? '' };
}

/** Stops and removes the pod of this uid and its log. Does nothing when there is none. */
export async function removePodsOf({ runtime }: Cri, uid: string): Promise<void> {
  const filter = { id: '', state: undefined, labelSelector: { [runLabel]: uid } };
  const { items } = await runtime.listPodSandbox({ filter });
  for (const pod of items) {
    await runtime.stopPodSandbox({ podSandboxId: pod.id });
    await runtime.removePodSandbox({ podSandboxId: pod.id });
    await removeLogs(pod);
  }
}

async function refuseSecond({ runtime }: Cri, name: string): Promise<void> {
  const { items } = await runtime.listPodSandbox();
  const same = items.find(({ metadata }) => metadata?.name === name && metadata.namespace === 'default');
  if (same === undefined) return;
  const state = podStateName(same.state) === 'ready' ? 'runs' : 'is there, stopped';
  throw new EngineError(
    'already-exists',
    `a pod called ${quote(name)} ${state}: remove it with "gantry rm --force ${name}", or give another --name`,
  );
}

async function pullIfMissing({ images }: Cri, reference: string, signal: AbortSignal): Promise<void> {
  const image = imageSpec(reference);
  const known = await images.imageStatus({ image }, { signal });
  if (known.image !== undefined) return;
  process.stderr.write(`fetching ${reference}\n`);
  await images.pullImage({ image }, { timeoutMs: Infinity, signal });
}
