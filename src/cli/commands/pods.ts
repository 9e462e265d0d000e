/** `gantry pods`: which pods are here. */
import { Command } from 'commander';
import type { PodSandbox, PodSandboxNetworkStatus } from '../../gen/runtime/v1/api.ts';
import { isKind } from '../../lib/errors.ts';
import type { Cri } from '../client.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson } from '../json.ts';
import { podStateName } from '../states.ts';
import { formatTable } from '../table.ts';
import { formatAge, isoOfNs, shortId } from '../units.ts';

interface Options {
  readonly json?: true;
  readonly quiet?: true;
  readonly names?: true;
}

export function podsCommand(): Command {
  return new Command('pods')
    .description('list pods')
    .option('-q, --quiet', 'print ids only')
    .option('--names', 'print names only')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ json, quiet, names }: Options, command: Command) => {
      const pods = await withCri(command, async (cri) => {
        const { items } = await cri.runtime.listPodSandbox();
        const sorted = items.toSorted((one, other) => Number(other.createdAt - one.createdAt));
        return (quiet || names) && !json
          ? sorted.map((pod) => summary(pod, undefined))
          : await withAddresses(cri, sorted);
      });
      if (json) await print(formatJson(pods));
      else if (quiet) await print(pods.map(({ id }) => `${id}\n`).join(''));
      else if (names) await print(pods.map(({ name }) => `${name}\n`).join(''));
      else await print(table(pods));
    });
}

type Pod = ReturnType<typeof summary>;

/** The list says nothing of addresses: each pod is asked. One that goes meanwhile is left out. */
async function withAddresses({ runtime }: Cri, items: readonly PodSandbox[]): Promise<Pod[]> {
  const pods: Pod[] = [];
  for (const pod of items) {
    try {
      const { status } = await runtime.podSandboxStatus({ podSandboxId: pod.id });
      pods.push(summary(pod, status?.network));
    } catch (error) {
      if (!isKind(error, 'not-found')) throw error;
    }
  }
  return pods;
}

function summary(pod: PodSandbox, network: PodSandboxNetworkStatus | undefined) {
  const ips = [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)].filter(
    (ip) => ip !== '',
  );
  return {
    id: pod.id,
    name: pod.metadata?.name ?? '',
    namespace: pod.metadata?.namespace ?? '',
    uid: pod.metadata?.uid ?? '',
    attempt: pod.metadata?.attempt ?? 0,
    state: podStateName(pod.state),
    createdAt: isoOfNs(pod.createdAt),
    ip: ips[0] ?? '',
    ips,
    runtimeHandler: pod.runtimeHandler,
    labels: pod.labels,
    annotations: pod.annotations,
  };
}

function table(pods: readonly Pod[]): string {
  const nowMs = Date.now();
  return formatTable(
    ['POD', 'NAME', 'NAMESPACE', 'STATE', 'AGE', 'IP'],
    pods.map((pod) => [
      shortId(pod.id),
      pod.name,
      pod.namespace,
      pod.state,
      formatAge(Date.parse(pod.createdAt ?? ''), nowMs),
      pod.ips.join(','),
    ]),
  );
}
