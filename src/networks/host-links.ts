/** What the built-in network needs to know and to remove in the host's network namespace. */
import { errnoOf } from '../lib/errors.ts';
import { deleteLink, getLink, listLinks } from '../linux/netlink/links.ts';
import { listRoutes } from '../linux/netlink/routes.ts';
import type { RouteSocket } from '../linux/netlink/socket.ts';
import type { UsedPrefixes } from './default-network.ts';

/** The host's routes but for the default ones. */
export async function usedPrefixes(socket: RouteSocket): ReturnType<UsedPrefixes> {
  const links = await listLinks(socket);
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const routes = await listRoutes(socket);
  const prefixes = routes.filter(({ destination }) => destination.length > 0);
  return prefixes.map(({ destination, index }) => ({
    prefix: destination,
    linkName: index === undefined ? undefined : names.get(index),
  }));
}

/** The names of the host's bridges that have no port. */
export async function unusedBridgeNames(socket: RouteSocket): Promise<string[]> {
  const links = await listLinks(socket);
  const masters = new Set(links.map(({ masterIndex }) => masterIndex));
  return links.filter(({ kind, index }) => kind === 'bridge' && !masters.has(index)).map(({ name }) => name);
}

/** Idempotent; a link of that name which is no bridge is left alone. */
export async function removeBridge(socket: RouteSocket, name: string): Promise<void> {
  const link = await getLink(socket, name);
  if (link?.kind !== 'bridge') return;
  try {
    await deleteLink(socket, link.index);
  } catch (error) {
    if (errnoOf(error) !== 'ENODEV') throw error;
  }
}
