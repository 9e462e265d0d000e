/** Links that may go by themselves: a namespace takes its own away when it ends. */
import { deleteLinkSlowly, getLink } from '../../linux/netlink/links.ts';
import { RouteSocket } from '../../linux/netlink/socket.ts';

/** Deletes by index, without blocking this thread. The socket is not to be used meanwhile. */
export async function deleteIfThere(socket: RouteSocket, index: number): Promise<void> {
  try {
    await deleteLinkSlowly(socket, index);
  } catch (error) {
    if (getLink(socket, index) !== undefined) throw error;
  }
}

/** The same for a link of the host, by a socket of its own. */
export async function deleteHostLink(index: number): Promise<void> {
  using socket = RouteSocket.open();
  await deleteIfThere(socket, index);
}
