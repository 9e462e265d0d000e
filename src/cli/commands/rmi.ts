/** `gantry rmi`: removes images with all of their names. */
import { Command } from 'commander';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { print, socketOption, withCri } from '../connection.ts';
import { forEachTarget } from '../each.ts';
import { imageSpec } from '../pod-of-one.ts';

export function rmiCommand(): Command {
  return new Command('rmi')
    .description('remove images, each with all of its tags')
    .argument('<image...>', 'references or ids')
    .addOption(socketOption())
    .action(async (references: readonly string[], _options: object, command: Command) => {
      await withCri(command, async ({ images }) => {
        await forEachTarget(references, async (reference) => {
          const { image } = await images.imageStatus({ image: imageSpec(reference) });
          if (image === undefined)
            throw new EngineError('not-found', `no image is called ${quote(reference)}`);
          await images.removeImage({ image: imageSpec(image.id) });
          await print(`${reference}\n`);
        });
      });
    });
}
