/** Links that may go by themselves: a namespace takes its own away when it ends. */
import { deleteLinkUntilGone, getLink } from '../../linux/netlink/links.ts';
import { RouteSocket } from '../../linux/netlink/socket.ts';
import type { PluginDeps } from '../plugin-types.ts';

/** Deletes by index. */
export async function deleteIfThere(
  { poller }: Pick<PluginDeps, 'poller'>,
  socket: RouteSocket,
  index: number,
): Promise<void> {
  try {
    await deleteLinkUntilGone(socket, index, poller);
  } catch (error) {
    if ((await getLink(socket, index)) !== undefined) throw error;
  }
}

/** The same for a link of the host, by a socket of its own. */
export async function deleteHostLink(deps: PluginDeps, index: number): Promise<void> {
  using socket = RouteSocket.open();
  await deleteIfThere(deps, socket, index);
}
