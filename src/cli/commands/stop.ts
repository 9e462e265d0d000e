/** `gantry stop`: ends pods or containers, and keeps them. */
import { Command, InvalidArgumentError } from 'commander';
import type { Cri } from '../client.ts';
import { print, socketOption, withCri } from '../connection.ts';
import { forEachTarget } from '../each.ts';
import { lookUpAny, readInventory } from '../lookup.ts';

interface Options {
  readonly time: number;
}

export function stopCommand(): Command {
  return new Command('stop')
    .description('stop pods with all of their containers, or single containers')
    .argument('<pod-or-container...>', 'names or ids')
    .option('-t, --time <seconds>', 'how long a container may take to end by itself', readSeconds, 10)
    .addOption(socketOption())
    .action(async (texts: readonly string[], { time }: Options, command: Command) => {
      await withCri(command, async (cri) => {
        const inventory = await readInventory(cri);
        await forEachTarget(texts, async (text) => {
          const { kind, id } = lookUpAny(inventory, text);
          if (kind === 'container') await stopContainer(cri, id, time);
          else {
            const inPod = inventory.containers.filter(({ podSandboxId }) => podSandboxId === id);
            await Promise.all(inPod.map(async (container) => await stopContainer(cri, container.id, time)));
            await cri.runtime.stopPodSandbox({ podSandboxId: id });
          }
          await print(`${text}\n`);
        });
      });
    });
}

const killGraceMs = 120_000;

async function stopContainer({ runtime }: Cri, containerId: string, seconds: number): Promise<void> {
  await runtime.stopContainer(
    { containerId, timeout: BigInt(seconds) },
    { timeoutMs: seconds * 1000 + killGraceMs },
  );
}

function readSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds.');
  return Number(text);
}
