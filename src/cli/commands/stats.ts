/** `gantry stats`: what running containers use. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { Cri } from '../client.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { usageOf, type ContainerUsage } from '../cpu-usage.ts';
import { interruptible } from '../interrupt.ts';
import { formatJson, formatJsonLine } from '../json.ts';
import { formatTable } from '../table.ts';
import { formatBytes, shortId } from '../units.ts';

interface Options {
  readonly json?: true;
  readonly watch?: true;
}

const firstIntervalMs = 500;
const watchIntervalMs = 2000;
const clearScreen = '\u001b[H\u001b[2J';

export function statsCommand(): Command {
  return new Command('stats')
    .description('show the CPU and memory that running containers use')
    .option('-w, --watch', 'go on every two seconds until interrupted')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ json, watch }: Options, command: Command) => {
      await withCri(command, async (cri) => {
        using interrupt = interruptible();
        for await (const usage of measure(cri, watch === true, interrupt.signal)) {
          if (json) await print(watch ? formatJsonLine(usage) : formatJson(usage));
          else await print(`${watch && process.stdout.isTTY ? clearScreen : ''}${table(usage)}`);
        }
      });
    });
}

/** A rate needs two readings. */
async function* measure(
  { runtime }: Cri,
  goesOn: boolean,
  signal: AbortSignal,
): AsyncGenerator<ContainerUsage[]> {
  let { stats } = await runtime.listContainerStats();
  for (let intervalMs = firstIntervalMs; ; intervalMs = watchIntervalMs) {
    const isOver = await sleep(intervalMs, false, { signal }).catch(() => true);
    if (isOver) return;
    const earlier = stats;
    ({ stats } = await runtime.listContainerStats());
    yield usageOf(stats, earlier)
      .filter(({ cpuPercent }) => cpuPercent !== undefined)
      .toSorted((one, other) => (other.cpuPercent ?? 0) - (one.cpuPercent ?? 0));
    if (!goesOn) return;
  }
}

function table(usage: readonly ContainerUsage[]): string {
  return formatTable(
    ['CONTAINER', 'NAME', 'CPU %', 'MEMORY', 'OF LIMIT', 'WRITTEN'],
    usage.map((one) => [
      shortId(one.id),
      one.name,
      one.cpuPercent?.toFixed(1) ?? '-',
      one.memoryBytes === undefined ? '-' : formatBytes(one.memoryBytes),
      one.memoryPercent === undefined ? '-' : `${one.memoryPercent.toFixed(0)} %`,
      one.writtenBytes === undefined ? '-' : formatBytes(one.writtenBytes),
    ]),
  );
}
