/** Addresses of links, on the wire and as operations. Errors are SyscallError. */
import {
  bitsOf,
  formatPrefix,
  ipFromBytes,
  ipToBytes,
  lastAddressOf,
  type IpPrefix,
} from '../../lib/ip-address.ts';
import { AttributeWriter, decodeAttributes, messageFlag, numberOf, textOf } from './message.ts';
import type { RouteSocket } from './socket.ts';

/** An address on a link. */
export interface LinkAddress {
  readonly index: number;
  readonly address: IpPrefix;
  readonly scope: number;
  /** Duplicate address detection has not finished: nothing can be sent from it yet. */
  readonly isTentative: boolean;
  /** Somebody else has it. */
  readonly isDuplicate: boolean;
  readonly label: string | undefined;
}

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFA = { address: 1, local: 2, label: 3, broadcast: 4, flags: 8 } as const;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const headerBytes = 8;

/** `AF_INET` and `AF_INET6`. */
export function addressFamily(family: 4 | 6 | undefined): number {
  if (family === undefined) return 0;
  return family === 4 ? 2 : 10;
}

/**
 * Adds an address; the kernel adds the route of its network with it. IPv4 gets the network's broadcast address.
 * @throws SyscallError EEXIST when the link has it already
 */
export async function addAddress(
  socket: RouteSocket,
  args: {
    readonly index: number;
    readonly address: IpPrefix;
    readonly skipDuplicateDetection?: boolean;
  },
): Promise<void> {
  await socket.execute({
    type: RTM_NEWADDR,
    flags: messageFlag.create | messageFlag.exclusive,
    payload: encodeAddress(args),
    operation: 'RTM_NEWADDR',
    about: formatPrefix(args.address),
  });
}

/** @throws SyscallError EADDRNOTAVAIL when the link does not have it */
export async function deleteAddress(
  socket: RouteSocket,
  args: { readonly index: number; readonly address: IpPrefix },
): Promise<void> {
  await socket.execute({
    type: RTM_DELADDR,
    payload: encodeAddress(args),
    operation: 'RTM_DELADDR',
    about: formatPrefix(args.address),
  });
}

/** The addresses of one link, or of all. */
export async function listAddresses(
  socket: RouteSocket,
  filter: { readonly index?: number; readonly family?: 4 | 6 } = {},
): Promise<LinkAddress[]> {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(addressFamily(filter.family), 0);
  header.writeUInt32LE(filter.index ?? 0, 4);
  const messages = await socket.dump({ type: RTM_GETADDR, payload: header, operation: 'RTM_GETADDR' });
  return messages
    .map((message) => decodeAddress(message.payload))
    .filter((address) => filter.index === undefined || address.index === filter.index);
}

/** The payload of RTM_NEWADDR and RTM_DELADDR. */
export function encodeAddress(args: {
  readonly index: number;
  readonly address: IpPrefix;
  readonly skipDuplicateDetection?: boolean;
}): Buffer {
  const { address, length } = args.address;
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(addressFamily(address.family), 0);
  header.writeUInt8(length, 1);
  header.writeUInt8(args.skipDuplicateDetection === true ? IFA_F_NODAD : 0, 2);
  header.writeUInt32LE(args.index, 4);
  const writer = new AttributeWriter(header);
  writer.bytes(IFA.local, ipToBytes(address));
  writer.bytes(IFA.address, ipToBytes(address));
  // A network of one or two addresses has no broadcast address (RFC 3021).
  if (address.family === 4 && length < bitsOf(4) - 1) {
    writer.bytes(IFA.broadcast, ipToBytes(lastAddressOf(args.address)));
  }
  return writer.take();
}

/** Reads the payload of an RTM_NEWADDR. */
export function decodeAddress(payload: Buffer): LinkAddress {
  const attributes = decodeAttributes(payload.subarray(headerBytes));
  // On a point-to-point link IFA_ADDRESS is the other side.
  const bytes = attributes.get(IFA.local) ?? attributes.get(IFA.address);
  if (bytes === undefined) throw new Error('an address message without an address');
  const flags = numberOf(attributes.get(IFA.flags)) ?? payload.readUInt8(2);
  return {
    index: payload.readUInt32LE(4),
    address: { address: ipFromBytes(bytes), length: payload.readUInt8(1) },
    scope: payload.readUInt8(3),
    isTentative: (flags & IFA_F_TENTATIVE) !== 0,
    isDuplicate: (flags & IFA_F_DADFAILED) !== 0,
    label: textOf(attributes.get(IFA.label)),
  };
}
