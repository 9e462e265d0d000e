/** `gantry containers`: which containers are here. */
import { Command } from 'commander';
import type { Container, PodSandbox } from '../../gen/runtime/v1/api.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson } from '../json.ts';
import { readInventory } from '../lookup.ts';
import { containerStateName } from '../states.ts';
import { formatTable } from '../table.ts';
import { formatAge, isoOfNs, shortId } from '../units.ts';

interface Options {
  readonly all?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly names?: true;
}

export function containersCommand(): Command {
  return new Command('containers')
    .description('list running containers')
    .option('-a, --all', 'those too that are not running')
    .option('-q, --quiet', 'print ids only')
    .option('--names', 'print names only')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ all, json, quiet, names }: Options, command: Command) => {
      const inventory = await withCri(command, readInventory);
      const podsById = new Map(inventory.pods.map((pod) => [pod.id, pod]));
      const containers = inventory.containers
        .toSorted((one, other) => Number(other.createdAt - one.createdAt))
        .map((container) => summary(container, podsById.get(container.podSandboxId)))
        .filter(({ state }) => all === true || state === 'running');
      if (json) await print(formatJson(containers));
      else if (quiet) await print(containers.map(({ id }) => `${id}\n`).join(''));
      else if (names) await print(containers.map(({ name }) => `${name}\n`).join(''));
      else await print(table(containers));
    });
}

function summary(container: Container, pod: PodSandbox | undefined) {
  return {
    id: container.id,
    name: container.metadata?.name ?? '',
    attempt: container.metadata?.attempt ?? 0,
    state: containerStateName(container.state),
    podId: container.podSandboxId,
    podName: pod?.metadata?.name ?? '',
    podNamespace: pod?.metadata?.namespace ?? '',
    image: imageOf(container),
    imageId: container.imageId,
    createdAt: isoOfNs(container.createdAt),
    labels: container.labels,
    annotations: container.annotations,
  };
}

/** As the user wrote it, where the daemon still knows. */
function imageOf({ image, imageRef }: Container): string {
  return (
    [image?.userSpecifiedImage, image?.image].find((text) => text !== undefined && text !== '') ?? imageRef
  );
}

function table(containers: readonly ReturnType<typeof summary>[]): string {
  const nowMs = Date.now();
  return formatTable(
    ['CONTAINER', 'NAME', 'STATE', 'AGE', 'RESTARTS', 'IMAGE', 'POD'],
    containers.map((one) => [
      shortId(one.id),
      one.name,
      one.state,
      formatAge(Date.parse(one.createdAt ?? ''), nowMs),
      String(one.attempt),
      one.image.startsWith('sha256:') ? shortId(one.image) : one.image,
      one.podNamespace === 'default' ? one.podName : `${one.podNamespace}/${one.podName}`,
    ]),
  );
}
