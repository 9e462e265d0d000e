/** `gantry rm`: removes pods with all that is in them, or single containers. */
import { Command } from 'commander';
import { EngineError } from '../../lib/errors.ts';
import type { Cri } from '../client.ts';
import { print, socketOption, withCri } from '../connection.ts';
import { forEachTarget } from '../each.ts';
import { lookUpAny, readInventory, type Inventory } from '../lookup.ts';
import type { Target } from '../names.ts';
import { removeLogs } from '../pod-of-one.ts';
import { containerStateName } from '../states.ts';
import { shortId } from '../units.ts';

interface Options {
  readonly force?: true;
  readonly all?: true;
}

export function rmCommand(): Command {
  return new Command('rm')
    .description('remove pods with all of their containers, or single containers')
    .argument('[pod-or-container...]', 'names or ids')
    .option('-f, --force', 'those too that are running')
    .option('-a, --all', 'every pod')
    .addOption(socketOption())
    .action(async (texts: readonly string[], options: Options, command: Command) => {
      if ((options.all === true) === texts.length > 0)
        command.error(`error: give pods or containers, or --all`, { exitCode: 2 });
      await withCri(command, async (cri) => {
        const inventory = await readInventory(cri);
        const wanted = options.all ? inventory.pods.map(({ id }) => id) : texts;
        await forEachTarget(wanted, async (text) => {
          await remove(cri, inventory, lookUpAny(inventory, text), options.force === true);
          await print(`${text}\n`);
        });
      });
    });
}

async function remove(cri: Cri, inventory: Inventory, { kind, id }: Target, force: boolean): Promise<void> {
  const running = inventory.containers.find(
    (one) => (one.id === id || one.podSandboxId === id) && containerStateName(one.state) === 'running',
  );
  if (running !== undefined && !force)
    throw new EngineError(
      'failed-precondition',
      `${kind} ${shortId(id)} is running: stop it first, or remove it with --force`,
    );
  if (kind === 'container') {
    await cri.runtime.removeContainer({ containerId: id });
    return;
  }
  await cri.runtime.stopPodSandbox({ podSandboxId: id });
  await cri.runtime.removePodSandbox({ podSandboxId: id });
  const pod = inventory.pods.find((one) => one.id === id);
  if (pod !== undefined) await removeLogs(pod);
}
