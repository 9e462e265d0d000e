/** VLANs on the ports of a bridge that filters them, on the wire and as operations. Errors are SyscallError. */
import { encodeInterfaceHeader } from './link-message.ts';
import { AttributeWriter, decodeAttributeList, decodeAttributes } from './message.ts';
import type { RouteSocket } from './socket.ts';

/** A VLAN on a port. */
export interface PortVlan {
  readonly vid: number;
  /** Untagged frames that come in belong to it. */
  readonly isPvid: boolean;
  /** Frames go out without the tag. */
  readonly isUntagged: boolean;
}

const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const AF_BRIDGE = 7;
const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_BRVLAN = 2;
const IFLA_BRIDGE_FLAGS = 0;
const IFLA_BRIDGE_VLAN_INFO = 2;
/** Whether the index is a port or the bridge itself. */
const BRIDGE_FLAGS = { port: 1, bridge: 2 } as const;
const VLAN_INFO_PVID = 2;
const VLAN_INFO_UNTAGGED = 4;

/** `index` is the port. @throws SyscallError ENOTSUP when the kernel or the bridge does not filter VLANs */
export async function addPortVlan(socket: RouteSocket, index: number, vlan: PortVlan): Promise<void> {
  const payload = encodePortVlan(index, vlan);
  await socket.execute({ type: RTM_SETLINK, payload, operation: 'RTM_SETLINK', about: `vlan ${vlan.vid}` });
}

/** Lets the bridge's own machine take part in a VLAN, with tagged frames. No error when it does already. */
export async function addBridgeVlan(socket: RouteSocket, index: number, vid: number): Promise<void> {
  const payload = encodePortVlan(index, { vid, isPvid: false, isUntagged: false }, 'bridge');
  await socket.execute({ type: RTM_SETLINK, payload, operation: 'RTM_SETLINK', about: `vlan ${vid}` });
}

export async function deletePortVlan(socket: RouteSocket, index: number, vid: number): Promise<void> {
  const payload = encodePortVlan(index, { vid, isPvid: false, isUntagged: false });
  await socket.execute({ type: RTM_DELLINK, payload, operation: 'RTM_DELLINK', about: `vlan ${vid}` });
}

/** The VLANs of one port. */
export async function listPortVlans(socket: RouteSocket, index: number): Promise<PortVlan[]> {
  const writer = new AttributeWriter(encodeInterfaceHeader({ family: AF_BRIDGE }));
  writer.u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
  const messages = await socket.dump({ type: RTM_GETLINK, payload: writer.take(), operation: 'RTM_GETLINK' });
  const port = messages.find((message) => message.payload.readInt32LE(4) === index);
  return port === undefined ? [] : decodePortVlans(port.payload);
}

/** The payload of RTM_SETLINK and RTM_DELLINK for a VLAN of a port, or of the bridge itself. */
export function encodePortVlan(
  index: number,
  vlan: PortVlan,
  target: keyof typeof BRIDGE_FLAGS = 'port',
): Buffer {
  const info = Buffer.alloc(4);
  info.writeUInt16LE((vlan.isPvid ? VLAN_INFO_PVID : 0) | (vlan.isUntagged ? VLAN_INFO_UNTAGGED : 0), 0);
  info.writeUInt16LE(vlan.vid, 2);
  const writer = new AttributeWriter(encodeInterfaceHeader({ family: AF_BRIDGE, index }));
  writer.nest(IFLA_AF_SPEC, (spec) => {
    spec.u16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS[target]);
    spec.bytes(IFLA_BRIDGE_VLAN_INFO, info);
  });
  return writer.take();
}

/** Reads the VLANs out of an RTM_NEWLINK of family AF_BRIDGE. */
export function decodePortVlans(payload: Buffer): PortVlan[] {
  const spec = decodeAttributes(payload.subarray(16)).get(IFLA_AF_SPEC);
  if (spec === undefined) return [];
  return decodeAttributeList(spec)
    .filter(([type]) => type === IFLA_BRIDGE_VLAN_INFO)
    .map(([, info]) => {
      const flags = info.readUInt16LE(0);
      return {
        vid: info.readUInt16LE(2),
        isPvid: (flags & VLAN_INFO_PVID) !== 0,
        isUntagged: (flags & VLAN_INFO_UNTAGGED) !== 0,
      };
    });
}
