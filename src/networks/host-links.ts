/** What the built-in network needs to know and to remove in the host's network namespace. */
import { errnoOf } from '../lib/errors.ts';
import { deleteLink, getLink, listLinks } from '../linux/netlink/links.ts';
import { listRoutes } from '../linux/netlink/routes.ts';
import type { RouteSocket } from '../linux/netlink/socket.ts';
import type { UsedPrefixes } from './default-network.ts';

/** The host's routes but for the default ones. */
export function usedPrefixes(socket: RouteSocket): ReturnType<UsedPrefixes> {
  const names = new Map(listLinks(socket).map(({ index, name }) => [index, name]));
  const routes = listRoutes(socket).filter(({ destination }) => destination.length > 0);
  return routes.map(({ destination, index }) => ({
    prefix: destination,
    linkName: index === undefined ? undefined : names.get(index),
  }));
}

/** The names of the host's bridges that have no port. */
export function unusedBridgeNames(socket: RouteSocket): string[] {
  const links = listLinks(socket);
  const masters = new Set(links.map(({ masterIndex }) => masterIndex));
  return links.filter(({ kind, index }) => kind === 'bridge' && !masters.has(index)).map(({ name }) => name);
}

/** Idempotent; a link of that name which is no bridge is left alone. */
export function removeBridge(socket: RouteSocket, name: string): void {
  const link = getLink(socket, name);
  if (link?.kind !== 'bridge') return;
  try {
    deleteLink(socket, link.index);
  } catch (error) {
    if (errnoOf(error) !== 'ENODEV') throw error;
  }
}
