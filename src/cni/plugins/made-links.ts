/**
 * Which of the host's links were made here for a network as a whole (bridges, the links that have a VLAN's gateway):
 * one file each below the run directory, which ends with the boot as the links do, holding the link's index. The kernel
 * gives no index twice, so a link of the same name that somebody else made is never taken for ours.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../lib/errors.ts';
import { getLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type { PluginDeps } from '../plugin-types.ts';

const defaultRunDir = '/run/gantry/cni';

/** Where the plugins keep what ends with the boot. */
export function runDirOf(deps: Pick<PluginDeps, 'runDir'>): string {
  return deps.runDir ?? defaultRunDir;
}

/**
 * Makes a link by `create` and records it. The name is recorded first: a crash in between leaves a record that can be
 * undone, never a link that nothing names.
 *
 * @returns undefined when the link was gone again before it could be looked at
 */
export async function makeLink(
  deps: PluginDeps,
  name: string,
  create: () => Promise<void>,
): Promise<Link | undefined> {
  write(deps, name, '');
  try {
    await create();
  } catch (error) {
    // EEXIST too: another process was faster, and the link is that one's.
    forgetLink(deps, name);
    throw error;
  }
  const link = await getLink(deps.route, name);
  if (link !== undefined) write(deps, name, String(link.index));
  return link;
}

/** True when the link of that name which is there now was made here. */
export function isLinkMadeHere(deps: PluginDeps, { name, index }: Pick<Link, 'name' | 'index'>): boolean {
  try {
    const recorded = readFileSync(pathOf(deps, name), 'utf8');
    return recorded === '' || Number(recorded) === index;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** The names of all links that are recorded, sorted; some may be gone. */
export function madeLinkNames(deps: PluginDeps): string[] {
  try {
    return readdirSync(directoryOf(deps))
      .map((name) => decodeURIComponent(name))
      .sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** The record goes, and its directory with the last one. Idempotent. */
export function forgetLink(deps: PluginDeps, name: string): void {
  rmSync(pathOf(deps, name), { force: true });
  try {
    rmdirSync(directoryOf(deps));
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'ENOENT') throw error;
  }
}

function write(deps: PluginDeps, name: string, content: string): void {
  // The directory may go with another link's record, but not between these two: nothing here gives the thread away.
  mkdirSync(directoryOf(deps), { recursive: true, mode: 0o700 });
  writeFileSync(pathOf(deps, name), content, { mode: 0o600 });
}

function directoryOf(deps: PluginDeps): string {
  return join(runDirOf(deps), 'links');
}

function pathOf(deps: PluginDeps, name: string): string {
  // A configuration may name anything; the kernel refuses it only afterwards.
  return join(directoryOf(deps), encodeURIComponent(name));
}
