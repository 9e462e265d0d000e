/**
 * The attachments that exist, one file each, in libcni's format (`cniCacheV1`), so that a node may change its engine.
 * A file is written before the first plugin runs and completed with the result: a crash in between leaves a file
 * that DEL can finish, never an attachment that nothing names. Files are replaced by rename but not synced: after a
 * power loss no attachment is alive, and leases without a file are swept.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { interfaceNamePattern, namePattern } from './network-list.ts';
import type { CniResult } from './plugin-types.ts';
import { readResult, writeResult } from './result.ts';
import { currentVersion } from './versions.ts';

/** Who runs a list's plugins: their programs, or the ones inside this process. */
export type Implementation = 'exec' | 'in-process';

export interface CachedAttachment {
  readonly networkName: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly netnsPath: string | undefined;
  readonly cniArgs: Readonly<Record<string, string>>;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** The list's document at the time of ADD. */
  readonly config: string;
  /** The version that ADD used; undefined when another engine wrote the file before its result. */
  readonly cniVersion: string | undefined;
  /** Undefined while ADD runs, or when it never ended. */
  readonly result: CniResult | undefined;
  /** Undefined in a file that another engine wrote. */
  readonly implementation: Implementation | undefined;
}

const maxFileBytes = 4 * 1024 * 1024;
const temporarySuffix = '.gantry-tmp';

const fileSchema = z.object({
  kind: z.literal('cniCacheV1'),
  containerId: z.string().regex(namePattern),
  config: z.string().default(''),
  ifName: z.string().regex(interfaceNamePattern),
  networkName: z.string().regex(namePattern),
  netns: z.string().optional(),
  cniArgs: z
    .array(z.tuple([z.string(), z.string()]))
    .nullish()
    .transform((pairs) => Object.fromEntries(pairs ?? [])),
  capabilityArgs: z
    .record(z.string(), z.unknown())
    .nullish()
    .transform((args) => args ?? {}),
  result: z.record(z.string(), z.unknown()).nullish(),
  // Ours alone: libcni ignores keys that it does not know.
  gantry: z.object({ implementation: z.enum(['exec', 'in-process']), cniVersion: z.string() }).optional(),
});

/** The attachments of a cache directory: read once, then held in memory and written through. */
export class AttachmentCache {
  readonly #cacheDir: string;
  readonly #attachments = new Map<string, CachedAttachment>();
  /** Files that could not be read when it was opened, each in a message that names it. They are left in place. */
  readonly faults: string[] = [];

  private constructor(cacheDir: string) {
    this.#cacheDir = cacheDir;
  }

  /** One bad file never hides the others. @throws when the directory itself cannot be read */
  static async open(cacheDir: string): Promise<AttachmentCache> {
    const cache = new AttachmentCache(cacheDir);
    const directory = join(cacheDir, 'results');
    for (const name of await namesIn(directory)) {
      const path = join(directory, name);
      try {
        // What a crash left of a write; the file that it was to replace is whole.
        if (name.endsWith(temporarySuffix)) await rm(path, { force: true });
        else cache.#remember(await readAttachment(path));
      } catch (error) {
        cache.faults.push(`cached network attachment ${path}: ${messageOf(error)}`);
      }
    }
    return cache;
  }

  all(): CachedAttachment[] {
    return [...this.#attachments.values()];
  }

  ofContainer(containerId: string): CachedAttachment[] {
    return this.all().filter((attachment) => attachment.containerId === containerId);
  }

  /**
   * Writes or replaces the attachment's file. The memory changes only when the disk took it. Synchronous, as leases are: each turn through
   * the thread pool costs more than the write, and some milliseconds on a busy node.
   * @throws EngineError
   */
  put(attachment: CachedAttachment): void {
    const path = this.#pathOf(attachment);
    const temporary = path + temporarySuffix;
    try {
      writeInto(join(this.#cacheDir, 'results'), temporary, JSON.stringify(documentOf(attachment)));
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      const { kind, message } = EngineError.from(error);
      throw new EngineError(kind, `record the network attachment ${path}: ${message}`, { cause: error });
    }
    this.#remember(attachment);
  }

  /** Removes the attachment's file. Idempotent. */
  remove(attachment: CachedAttachment): void {
    rmSync(this.#pathOf(attachment), { force: true });
    this.#attachments.delete(keyOf(attachment));
  }

  #remember(attachment: CachedAttachment): void {
    this.#attachments.set(keyOf(attachment), attachment);
  }

  #pathOf(attachment: CachedAttachment): string {
    return join(this.#cacheDir, 'results', keyOf(attachment));
  }
}

function writeInto(directory: string, path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(path, text, { mode: 0o600 });
  }
}

function documentOf(attachment: CachedAttachment): Record<string, unknown> {
  const { networkName, containerId, ifName, netnsPath, implementation, result, cniVersion } = attachment;
  return {
    kind: 'cniCacheV1',
    containerId,
    config: Buffer.from(attachment.config).toString('base64'),
    ifName,
    networkName,
    ...(netnsPath === undefined ? {} : { netns: netnsPath }),
    cniArgs: Object.entries(attachment.cniArgs),
    capabilityArgs: attachment.capabilityArgs,
    ...(result === undefined ? {} : { result: writeResult(result, cniVersion ?? currentVersion) }),
    ...(implementation === undefined ? {} : { gantry: { implementation, cniVersion } }),
  };
}

async function readAttachment(path: string): Promise<CachedAttachment> {
  const facts = await stat(path);
  if (!facts.isFile() || facts.size > maxFileBytes) throw new Error('not a regular file of at most 4 MiB');
  const file = fileSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  const resultVersion = file.result?.['cniVersion'];
  const cniVersion =
    file.gantry?.cniVersion ?? (typeof resultVersion === 'string' ? resultVersion : undefined);
  return {
    networkName: file.networkName,
    containerId: file.containerId,
    ifName: file.ifName,
    netnsPath: file.netns === '' ? undefined : file.netns,
    cniArgs: file.cniArgs,
    capabilityArgs: file.capabilityArgs,
    config: Buffer.from(file.config, 'base64').toString(),
    cniVersion,
    result: file.result ? readResult(file.result, cniVersion ?? currentVersion) : undefined,
    implementation: file.gantry?.implementation,
  };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Also the file's name, as libcni composes it. */
function keyOf({ networkName, containerId, ifName }: CachedAttachment): string {
  return `${networkName}-${containerId}-${ifName}`;
}
