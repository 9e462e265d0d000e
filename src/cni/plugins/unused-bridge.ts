/** Takes a bridge away that was made here and that nothing uses any more. */
import { getLink, listLinks } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type { PluginDeps } from '../plugin-types.ts';
import { deleteHostLink } from './delete-link.ts';
import { forgetLink, isLinkMadeHere, madeLinkNames } from './made-links.ts';

/**
 * Removes the bridge with the VLAN links that were made for its gateways. Left alone: a bridge that was there before the
 * first pod, or was made by somebody else; one with a port, whosever it is; one on which another link stands or that is
 * itself part of another. The caller keeps attachments to this bridge away. Idempotent.
 */
export async function removeUnusedBridge(deps: PluginDeps, name: string): Promise<void> {
  const bridge = await getLink(deps.route, name);
  if (bridge === undefined || !isLinkMadeHere(deps, bridge)) {
    for (const each of recordsOf(deps, name)) await forgetStale(deps, each);
    return;
  }
  // A VLAN's link that was being made while `name` was taken for a bridge's.
  if (bridge.kind !== 'bridge') return;
  const links = await listLinks(deps.route);
  const vlanLinks = links.filter((link) => link.name.startsWith(`${name}.`) && isLinkMadeHere(deps, link));
  if (isUsed(bridge, vlanLinks, links)) return;
  for (const link of [...vlanLinks, bridge]) {
    await deleteHostLink(deps, link.index);
    forgetLink(deps, link.name);
  }
}

/** The names of the bridges that may have been made here: recorded, and no VLAN's link. */
export async function recordedBridges(deps: PluginDeps): Promise<string[]> {
  const bridges: string[] = [];
  for (const name of madeLinkNames(deps)) {
    const link = await getLink(deps.route, name);
    if (link?.kind !== 'vlan') bridges.push(name);
  }
  return bridges;
}

function isUsed(bridge: Link, vlanLinks: readonly Link[], links: readonly Link[]): boolean {
  const own = new Set(vlanLinks.map(({ index }) => index));
  return (
    bridge.masterIndex !== undefined ||
    links.some(({ masterIndex }) => masterIndex === bridge.index) ||
    // The index is another namespace's where there is an id of one.
    links.some(
      ({ index, linkIndex, linkNetnsId }) =>
        linkIndex === bridge.index && linkNetnsId === undefined && !own.has(index),
    )
  );
}

/** The bridge's own record and those of its VLANs. */
function recordsOf(deps: PluginDeps, name: string): string[] {
  return madeLinkNames(deps).filter((each) => each === name || each.startsWith(`${name}.`));
}

/** A record whose link went by another hand. */
async function forgetStale(deps: PluginDeps, name: string): Promise<void> {
  const link = await getLink(deps.route, name);
  if (link === undefined || !isLinkMadeHere(deps, link)) forgetLink(deps, name);
}
