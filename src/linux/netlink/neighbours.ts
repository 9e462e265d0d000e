/** Neighbour (ARP, NDP) and forwarding database entries, on the wire and as operations. Errors are SyscallError. */
import { formatIp, ipFromBytes, ipToBytes, type IpAddress } from '../../lib/ip-address.ts';
import { addressFamily } from './addresses.ts';
import { formatMac, parseMac } from './link-message.ts';
import { AttributeWriter, decodeAttributes, messageFlag, numberOf } from './message.ts';
import type { RouteSocket } from './socket.ts';

/** Which MAC address answers for an IP address on a link. */
export interface Neighbour {
  readonly index: number;
  readonly address: IpAddress;
  readonly mac: string;
}

/** Where frames to a MAC address go: on a vxlan, to the host `destination`. */
export interface ForwardingEntry {
  readonly index: number;
  readonly mac: string;
  readonly destination?: IpAddress;
}

/** An entry as listed. */
export interface ListedNeighbour {
  readonly index: number;
  readonly address: IpAddress | undefined;
  readonly mac: string | undefined;
  readonly isPermanent: boolean;
  readonly masterIndex: number | undefined;
}

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const NDA = { dst: 1, mac: 2, master: 9 } as const;
const NUD_PERMANENT = 0x80;
const NTF_SELF = 0x02;
const AF_BRIDGE = 7;
const headerBytes = 12;
const replaceFlags = messageFlag.create | messageFlag.replace;

/** Sets a permanent neighbour entry, in place of what is there. */
export async function setNeighbour(socket: RouteSocket, neighbour: Neighbour): Promise<void> {
  const payload = encodeNeighbour(neighbour);
  const about = formatIp(neighbour.address);
  await socket.execute({
    type: RTM_NEWNEIGH,
    flags: replaceFlags,
    payload,
    operation: 'RTM_NEWNEIGH',
    about,
  });
}

/** @throws SyscallError ENOENT when there is none */
export async function deleteNeighbour(socket: RouteSocket, neighbour: Neighbour): Promise<void> {
  const payload = encodeNeighbour(neighbour);
  const about = formatIp(neighbour.address);
  await socket.execute({ type: RTM_DELNEIGH, payload, operation: 'RTM_DELNEIGH', about });
}

/** Sets a permanent entry of the device itself (not of the bridge above it), in place of what is there. */
export async function setForwardingEntry(socket: RouteSocket, entry: ForwardingEntry): Promise<void> {
  const payload = encodeForwardingEntry(entry);
  const flags = replaceFlags;
  await socket.execute({ type: RTM_NEWNEIGH, flags, payload, operation: 'RTM_NEWNEIGH', about: entry.mac });
}

/** @throws SyscallError ENOENT when there is none */
export async function deleteForwardingEntry(socket: RouteSocket, entry: ForwardingEntry): Promise<void> {
  const payload = encodeForwardingEntry(entry);
  await socket.execute({ type: RTM_DELNEIGH, payload, operation: 'RTM_DELNEIGH', about: entry.mac });
}

/** Neighbours of one family on one link. */
export async function listNeighbours(
  socket: RouteSocket,
  filter: { readonly index: number; readonly family: 4 | 6 },
): Promise<ListedNeighbour[]> {
  const header = encodeNeighbourHeader({
    family: addressFamily(filter.family),
    index: 0,
    state: 0,
    flags: 0,
  });
  const messages = await socket.dump({ type: RTM_GETNEIGH, payload: header, operation: 'RTM_GETNEIGH' });
  return messages
    .map((message) => decodeNeighbour(message.payload))
    .filter((neighbour) => neighbour.index === filter.index);
}

/** The forwarding database of one link: its own entries and those that its bridge keeps for it. */
export async function listForwardingEntries(socket: RouteSocket, index: number): Promise<ListedNeighbour[]> {
  const header = encodeNeighbourHeader({ family: AF_BRIDGE, index, state: 0, flags: 0 });
  const messages = await socket.dump({ type: RTM_GETNEIGH, payload: header, operation: 'RTM_GETNEIGH' });
  return messages
    .map((message) => decodeNeighbour(message.payload))
    .filter((neighbour) => neighbour.index === index);
}

/** The payload of RTM_NEWNEIGH and RTM_DELNEIGH for an IP neighbour. */
export function encodeNeighbour(neighbour: Neighbour): Buffer {
  const family = addressFamily(neighbour.address.family);
  const header = encodeNeighbourHeader({ family, index: neighbour.index, state: NUD_PERMANENT, flags: 0 });
  const writer = new AttributeWriter(header);
  writer.bytes(NDA.dst, ipToBytes(neighbour.address));
  return writer.bytes(NDA.mac, parseMac(neighbour.mac)).take();
}

/** The payload of RTM_NEWNEIGH and RTM_DELNEIGH for a forwarding entry. */
export function encodeForwardingEntry(entry: ForwardingEntry): Buffer {
  const header = encodeNeighbourHeader({
    family: AF_BRIDGE,
    index: entry.index,
    state: NUD_PERMANENT,
    flags: NTF_SELF,
  });
  const writer = new AttributeWriter(header);
  if (entry.destination !== undefined) writer.bytes(NDA.dst, ipToBytes(entry.destination));
  return writer.bytes(NDA.mac, parseMac(entry.mac)).take();
}

/** Reads the payload of an RTM_NEWNEIGH. */
export function decodeNeighbour(payload: Buffer): ListedNeighbour {
  const attributes = decodeAttributes(payload.subarray(headerBytes));
  const address = attributes.get(NDA.dst);
  return {
    index: payload.readInt32LE(4),
    address: address === undefined ? undefined : ipFromBytes(address),
    mac: formatMac(attributes.get(NDA.mac)),
    isPermanent: (payload.readUInt16LE(8) & NUD_PERMANENT) !== 0,
    masterIndex: numberOf(attributes.get(NDA.master)),
  };
}

/** `struct ndmsg`. */
function encodeNeighbourHeader(header: {
  readonly family: number;
  readonly index: number;
  readonly state: number;
  readonly flags: number;
}): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeUInt8(header.family, 0);
  buffer.writeInt32LE(header.index, 4);
  buffer.writeUInt16LE(header.state, 8);
  buffer.writeUInt8(header.flags, 10);
  return buffer;
}
