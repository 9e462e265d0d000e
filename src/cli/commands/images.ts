/** `gantry images`: which images are here. */
import { Command } from 'commander';
import type { Image } from '../../gen/runtime/v1/api.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson } from '../json.ts';
import { formatTable } from '../table.ts';
import { formatBytes, shortId } from '../units.ts';

interface Options {
  readonly json?: true;
  readonly quiet?: true;
  readonly names?: true;
}

export function imagesCommand(): Command {
  return new Command('images')
    .description('list images')
    .option('-q, --quiet', 'print ids only')
    .option('--names', 'print names only')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async ({ json, quiet, names }: Options, command: Command) => {
      const { images } = await withCri(command, async (cri) => await cri.images.listImages());
      const sorted = images.toSorted((one, other) => nameOf(one).localeCompare(nameOf(other)));
      if (json) await print(formatJson(sorted.map(summary)));
      else if (quiet) await print(sorted.map(({ id }) => `${id}\n`).join(''));
      else if (names)
        await print(sorted.flatMap(({ repoTags }) => repoTags.map((tag) => `${tag}\n`)).join(''));
      else await print(formatTable(['IMAGE', 'ID', 'SIZE', 'PINNED'], sorted.flatMap(rows)));
    });
}

function summary({ id, repoTags, repoDigests, size, pinned, uid, username }: Image) {
  return {
    id,
    repoTags,
    repoDigests,
    sizeBytes: size,
    pinned,
    user: uid === undefined ? username : String(uid.value),
  };
}

function rows(image: Image): string[][] {
  const names = image.repoTags.length > 0 ? image.repoTags : image.repoDigests.slice(0, 1);
  return (names.length > 0 ? names : ['<none>']).map((name) => [
    name,
    shortId(image.id),
    formatBytes(Number(image.size)),
    image.pinned ? 'yes' : '',
  ]);
}

function nameOf(image: Image): string {
  return image.repoTags[0] ?? image.repoDigests[0] ?? image.id;
}
