/** Links of the namespace in which the socket was opened. Errors are SyscallError. */
import { errnoOf } from '../../lib/errors.ts';
import {
  decodeLink,
  encodeBridgePort,
  encodeInterfaceHeader,
  encodeLinkChange,
  encodeLinkQuery,
  encodeNewLink,
  type BridgeOptions,
  type BridgePortOptions,
  type IpvlanMode,
  type Link,
  type LinkAttributes,
  type LinkChange,
  type LinkKind,
  type MacvlanMode,
  type VxlanOptions,
} from './link-message.ts';
import type { Poller } from '../poll.ts';
import { messageFlag } from './message.ts';
import type { NetlinkCall, RouteSocket } from './socket.ts';

const RTNLGRP_LINK = 1;
const AF_UNSPEC = 0;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const maxNameBytes = 15;

/** @throws SyscallError EEXIST when a link of that name is there, of whatever kind */
export async function createBridge(socket: RouteSocket, args: LinkAttributes & BridgeOptions): Promise<void> {
  const { vlanFiltering } = args;
  await create(socket, args, {
    kind: 'bridge',
    options: vlanFiltering === undefined ? {} : { vlanFiltering },
  });
}

/**
 * Makes both ends in one request, the peer directly inside its namespace: it never shows in this one.
 * `mac` is the peer's; the near end gets one from the kernel. Both ends have the same `mtu`.
 * @throws SyscallError EEXIST when either name is taken
 */
export async function createVeth(
  socket: RouteSocket,
  args: {
    readonly name: string;
    readonly peerName: string;
    readonly peerNetnsFd?: number;
    readonly mtu?: number;
    readonly mac?: string;
    readonly master?: number;
    readonly up?: boolean;
  },
): Promise<void> {
  const { name, peerName, peerNetnsFd, mac, ...rest } = args;
  const peer = {
    name: peerName,
    ...(args.mtu === undefined ? {} : { mtu: args.mtu }),
    ...(peerNetnsFd === undefined ? {} : { netnsFd: peerNetnsFd }),
    ...(mac === undefined ? {} : { mac }),
  };
  await create(socket, { name, ...rest }, { kind: 'veth', peer });
}

export async function createVxlan(socket: RouteSocket, args: LinkAttributes & VxlanOptions): Promise<void> {
  await create(socket, args, { kind: 'vxlan', options: args });
}

/** `parent` is an index. With `netnsFd` the link is made in that namespace and stays bound to its parent in this one. */
export async function createMacvlan(
  socket: RouteSocket,
  args: LinkAttributes & { readonly parent: number; readonly mode: MacvlanMode },
): Promise<void> {
  await create(socket, args, { kind: 'macvlan', parent: args.parent, mode: args.mode });
}

/** `parent` is an index. */
export async function createIpvlan(
  socket: RouteSocket,
  args: LinkAttributes & { readonly parent: number; readonly mode: IpvlanMode },
): Promise<void> {
  await create(socket, args, { kind: 'ipvlan', parent: args.parent, mode: args.mode });
}

/** The link that has the tagged frames of one VLAN of its parent. */
export async function createVlan(
  socket: RouteSocket,
  args: LinkAttributes & { readonly parent: number; readonly vid: number },
): Promise<void> {
  await create(socket, args, { kind: 'vlan', parent: args.parent, vid: args.vid });
}

export async function createDummy(socket: RouteSocket, args: LinkAttributes): Promise<void> {
  await create(socket, args, { kind: 'dummy' });
}

/**
 * Deletes by index. A veth's peer goes with it. Takes the 10 to 20 ms until the kernel has freed it, and other requests wait
 * for their turn meanwhile; `deleteLinkUntilGone` does not.
 * @throws SyscallError ENODEV when there is none
 */
export async function deleteLink(socket: RouteSocket, index: number): Promise<void> {
  await socket.execute(deletion(index));
}

/**
 * As `deleteLink`, but other requests go on, and it is done when nobody finds the link any more, which is long before the kernel has
 * freed it.
 */
export async function deleteLinkUntilGone(socket: RouteSocket, index: number, poller: Poller): Promise<void> {
  await socket.executeUntilNotice(deletion(index), {
    poller,
    group: RTNLGRP_LINK,
    isIt: ({ type, payload }) => {
      if (type !== RTM_DELLINK) return false;
      // A bridge tells in its own family that it has lost a port, before that.
      return payload.readUInt8(0) === AF_UNSPEC && payload.readInt32LE(4) === index;
    },
  });
}

/** Undefined when no link has that name (or index). */
export async function getLink(socket: RouteSocket, nameOrIndex: string | number): Promise<Link | undefined> {
  // The kernel answers ERANGE to a longer name; no link can have it.
  if (typeof nameOrIndex === 'string' && Buffer.byteLength(nameOrIndex) > maxNameBytes) return undefined;
  const target = typeof nameOrIndex === 'string' ? { name: nameOrIndex } : { index: nameOrIndex };
  try {
    const message = await socket.query({
      type: RTM_GETLINK,
      payload: encodeLinkQuery(target),
      operation: 'RTM_GETLINK',
      about: String(nameOrIndex),
    });
    return message === undefined ? undefined : decodeLink(message.payload);
  } catch (error) {
    if (errnoOf(error) === 'ENODEV') return undefined;
    throw error;
  }
}

/** All links of the namespace. */
export async function listLinks(socket: RouteSocket): Promise<Link[]> {
  const messages = await socket.dump({
    type: RTM_GETLINK,
    payload: encodeLinkQuery('all'),
    operation: 'RTM_GETLINK',
  });
  return messages.map((message) => decodeLink(message.payload));
}

/** Changes the link of that index; keys that are absent stay as they are. */
export async function setLink(
  socket: RouteSocket,
  args: LinkChange & { readonly index: number },
): Promise<void> {
  await socket.execute({
    type: RTM_NEWLINK,
    payload: encodeLinkChange(args.index, args),
    operation: 'RTM_NEWLINK',
    about: `link ${args.index}`,
  });
}

/** Options of a link that is a port of a bridge. */
export async function setBridgePort(
  socket: RouteSocket,
  args: BridgePortOptions & { readonly index: number },
): Promise<void> {
  await socket.execute({
    type: RTM_NEWLINK,
    payload: encodeBridgePort(args.index, args),
    operation: 'RTM_NEWLINK',
    about: `bridge port ${args.index}`,
  });
}

function deletion(index: number): NetlinkCall {
  return {
    type: RTM_DELLINK,
    payload: encodeInterfaceHeader({ index }),
    operation: 'RTM_DELLINK',
    about: `link ${index}`,
  };
}

async function create(socket: RouteSocket, attributes: LinkAttributes, kind: LinkKind): Promise<void> {
  await socket.execute({
    type: RTM_NEWLINK,
    flags: messageFlag.create | messageFlag.exclusive,
    payload: encodeNewLink(attributes, kind),
    operation: 'RTM_NEWLINK',
    about: `${kind.kind} ${attributes.name}`,
  });
}
