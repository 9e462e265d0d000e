import { readdir, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { errnoOf } from '../lib/errors.ts';

/** An address that host-local gave to a container. */
export interface Lease {
  readonly address: string;
  readonly containerId: string;
}

/**
 * Gives back the leases of one network whose container is not known. host-local has no GC of its own: an address whose
 * DEL never ran (power loss, a lost record) would be gone for ever. No ADD or DEL may run meanwhile.
 *
 * @returns the leases that were given back
 */
export async function sweepLeases(
  directory: string,
  isKnown: (containerId: string) => boolean,
): Promise<Lease[]> {
  const swept: Lease[] = [];
  for (const address of await addressesIn(directory)) {
    const path = join(directory, address);
    const containerId = await holderOf(path);
    if (containerId === undefined || isKnown(containerId)) continue;
    await rm(path, { force: true });
    swept.push({ address, containerId });
  }
  return swept;
}

/** The file's first line; the second is the interface. An empty file is a reservation that a crash cut short. */
async function holderOf(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).split(/\r?\n/)[0]?.trim();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Beside the leases there are `lock` and `last_reserved_ip.<range>`. */
async function addressesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => isIP(name) !== 0);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
