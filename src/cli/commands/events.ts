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
          for await (const event of runtime.getContainerEvents({}, { signal: interrupt.signal })) {
            const line = summary(event);
            await print(json ? formatJsonLine(line) : describe(line));
          }
        } catch (error) {
          if (!interrupt.signal.aborted) throw error;
        }
      });
    });
}

function summary(event: ContainerEventResponse) {
  const status = event.containersStatuses.find(({ id }) => id === event.containerId);
  const podId = event.podSandboxStatus?.id;
  const pod = event.podSandboxStatus?.metadata;
  const isPod = podId === event.containerId;
  return {
    at: isoOfNs(event.createdAt),
    event: kinds[event.containerEventType] ?? 'unknown',
    kind: isPod ? 'pod' : 'container',
    id: event.containerId,
    name: isPod ? pod?.name : status?.metadata?.name,
    podId,
    podName: pod?.name,
    podNamespace: pod?.namespace,
    ...endOf(status),
  };
}

function endOf(status: ContainerStatus | undefined): {
  readonly exitCode?: number;
  readonly reason?: string;
} {
  if (status === undefined || status.finishedAt === 0n) return {};
  return { exitCode: status.exitCode, reason: status.reason };
}

function describe(line: ReturnType<typeof summary>): string {
  const { podName, podNamespace, exitCode } = line;
  const where = podName === undefined ? '' : `${podNamespace}/${podName}`;
  const called = line.kind === 'pod' ? where : [where, line.name].filter((text) => text).join('/');
  const end =
    line.event === 'stopped' && exitCode !== undefined ? ` exit code ${exitCode} (${line.reason})` : '';
  return `${line.at ?? ''}  ${line.event.padEnd(7)}  ${line.kind.padEnd(9)}  ${shortId(line.id)}  ${called}${end}\n`;
}
