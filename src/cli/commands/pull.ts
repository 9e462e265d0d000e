/** `gantry pull`: fetches an image. */
import { text as readText } from 'node:stream/consumers';
import { Command } from 'commander';
import { EngineError } from '../../lib/errors.ts';
import { print, socketOption, withCri } from '../connection.ts';
import { interruptible } from '../interrupt.ts';
import { imageSpec } from '../pod-of-one.ts';

interface Options {
  readonly username?: string;
  readonly passwordStdin?: true;
}

export function pullCommand(): Command {
  return new Command('pull')
    .description('fetch an image, and print its id')
    .argument('<image>', 'reference: NAME[:TAG][@DIGEST]')
    .option('--username <name>', 'log in to the registry')
    .option('--password-stdin', 'read the password from standard input')
    .addOption(socketOption())
    .action(async (image: string, options: Options, command: Command) => {
      const auth = await readAuth(options);
      await withCri(command, async ({ images }) => {
        using interrupt = interruptible();
        const { imageRef } = await images.pullImage(
          { image: imageSpec(image), ...(auth === undefined ? {} : { auth }) },
          { timeoutMs: Infinity, signal: interrupt.signal },
        );
        await print(`${imageRef}\n`);
      });
    });
}

async function readAuth({ username, passwordStdin }: Options) {
  if ((username === undefined) !== (passwordStdin === undefined))
    throw new EngineError('invalid-argument', '--username and --password-stdin belong together');
  if (username === undefined) return undefined;
  const password = (await readText(process.stdin)).replace(/\r?\n$/, '');
  return { username, password, auth: '', serverAddress: '', identityToken: '', registryToken: '' };
}
