/** `gantry run`: a pod of one container, made and started in one go. */
import { randomUUID } from 'node:crypto';
import { Command } from 'commander';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { interruptible } from '../interrupt.ts';
import { formatJson } from '../json.ts';
import { isPlainName, type PodOfOne } from '../pod-of-one.ts';
import {
  nameOfImage,
  parsePort,
  parseVariable,
  parseVolume,
  type HostMount,
  type PublishedPort,
  type Variable,
} from '../run-options.ts';

interface Options {
  readonly name?: string;
  readonly publish: readonly PublishedPort[];
  readonly env: readonly Variable[];
  readonly volume: readonly HostMount[];
  readonly hostNetwork?: true;
  readonly rm?: true;
  readonly interactive?: true;
  readonly tty?: true;
  readonly json?: true;
}

export function runCommand(): Command {
  return new Command('run')
    .description('run a pod of one container, in the background unless -i, -t or --rm is given')
    .usage('[options] <image> [command...]')
    .argument('<image>', 'fetched if it is not here')
    .argument('[command...]', "replaces the image's command")
    .option('--name <name>', 'name of the pod and of its container (default: made from the image)')
    .option(
      '-p, --publish <host:container>',
      'reach a port of the pod by one of the host ([IP:]HOST:CONTAINER[/udp])',
      each(parsePort),
      [],
    )
    .option(
      '-e, --env <name=value>',
      'set a variable',
      each((text) => parseVariable(text)),
      [],
    )
    .option(
      '-v, --volume <host:container>',
      'show a path of the host in the container (HOST:CONTAINER[:ro])',
      each(parseVolume),
      [],
    )
    .option('--host-network', "use the host's network")
    .option('--rm', 'stay in the foreground, and remove the pod when the container has ended')
    .option('-i, --interactive', 'stay in the foreground, and pass standard input on')
    .option('-t, --tty', 'give the container a terminal')
    .addOption(jsonOption())
    .addOption(socketOption())
    .passThroughOptions()
    .addHelpText('after', '\nOn a node with a kubelet, the kubelet removes pods that it has not made itself.')
    .action(async (image: string, args: readonly string[], options: Options, command: Command) => {
      const pod = podOf(image, args, options);
      const isAttached = options.rm === true || pod.stdin || pod.tty;
      await withCri(command, async (cri) => {
        const { startPod } = await import('../start-pod.ts');
        using interrupt = interruptible();
        const started = await startPod(cri, pod, interrupt.signal);
        if (!isAttached) {
          await print(options.json ? formatJson({ name: pod.name, ...started }) : describe(pod, started));
          return;
        }
        const { runInForeground } = await import('../foreground.ts');
        process.exitCode = await runInForeground(cri, {
          ...started,
          pod,
          removeAtEnd: options.rm === true,
          interrupt,
        });
      });
    });
}

function podOf(image: string, args: readonly string[], options: Options): PodOfOne {
  const uid = randomUUID();
  const name = options.name ?? nameOfImage(image, uid.slice(0, 5));
  if (!isPlainName(name))
    throw new EngineError(
      'invalid-argument',
      `--name ${quote(name)}: a name is made of small letters, digits, "-" and "."`,
    );
  if (options.hostNetwork && options.publish.length > 0)
    throw new EngineError(
      'invalid-argument',
      '--publish has no use with --host-network: the ports of the container are those of the host',
    );
  return {
    name,
    uid,
    image,
    args,
    ports: options.publish,
    env: options.env,
    mounts: options.volume,
    hostNetwork: options.hostNetwork === true,
    stdin: options.interactive === true,
    tty: options.tty === true,
  };
}

interface Started {
  readonly podId: string;
  readonly containerId: string;
  readonly ip: string;
}

function describe({ name, hostNetwork }: PodOfOne, { podId, containerId, ip }: Started): string {
  const address = hostNetwork ? "the host's" : ip;
  return `pod        ${podId}\ncontainer  ${containerId}\nname       ${name}\nIP         ${address}\n`;
}

function each<T>(parse: (text: string) => T): (text: string, previous: readonly T[]) => readonly T[] {
  return (text, previous) => [...previous, parse(text)];
}
