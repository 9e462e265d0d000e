/** `gantry events`: what happens to pods and containers, as it happens. */
import { Command } from 'commander';
import type { ContainerEventResponse, ContainerStatus } from '../../gen/runtime/v1/api.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { interruptible } from '../interrupt.ts';
import { formatJsonLine } from '../json.ts';
import { isoOfNs, shortId } from '../units.ts';

const kinds = ['created', 'started', 'stopped', 'deleted'] as const;

export function eventsCommand(): Command {
  return new Command('events')
    .description('show what happens to pods and containers until interrupted')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ json }: { readonly json?: true }, command: Command) => {
      await withCri(command, async ({ runtime }) => {
        using interrupt = interruptible();
        try {
          for await (const event of runtime.getContainerEvents({}, { signal: interrupt.signal }))
            await print(json ? formatJsonLine(summary(event)) : describe(event));
        } catch (error) {
          if (!interrupt.signal.aborted) throw error;
        }
      });
    });
}

function summary(event: ContainerEventResponse) {
  const pod = event.podSandboxStatus;
  const status = event.containersStatuses.find(({ id }) => id === event.containerId);
  const isPod = pod?.id === event.containerId;
  return {
    at: isoOfNs(event.createdAt),
    event: kinds[event.containerEventType] ?? 'unknown',
    kind: isPod ? 'pod' : 'container',
    id: event.containerId,
    name: isPod ? pod.metadata?.name : status?.metadata?.name,
    podId: pod?.id,
    podName: pod?.metadata?.name,
    podNamespace: pod?.metadata?.namespace,
    ...endOf(status),
  };
}

function endOf(status: ContainerStatus | undefined) {
  if (status === undefined || status.finishedAt === 0n) return {};
  return { exitCode: status.exitCode, reason: status.reason };
}

function describe(event: ContainerEventResponse): string {
  const {
    at = '',
    event: kind,
    kind: what,
    id,
    name,
    podName,
    podNamespace,
    exitCode,
    reason,
  } = summary(event);
  const where = podName === undefined ? '' : `${podNamespace}/${podName}`;
  const called = what === 'pod' ? where : [where, name].filter((text) => text).join('/');
  const end = kind === 'stopped' && exitCode !== undefined ? ` exit code ${exitCode} (${reason})` : '';
  return `${at}  ${kind.padEnd(7)}  ${what.padEnd(9)}  ${shortId(id)}  ${called}${end}\n`;
}
