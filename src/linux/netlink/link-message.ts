/** Links on the wire: ifinfomsg and the attributes of linux/if_link.h, both ways, without any I/O. */
import { ipFromBytes, ipToBytes, type IpAddress } from '../../lib/ip-address.ts';
import { AttributeWriter, decodeAttributes, numberOf, textOf } from './message.ts';

/** `operstate` of RFC 2863, in the kernel's order. */
const operStates = [
  'unknown',
  'not-present',
  'down',
  'lower-layer-down',
  'testing',
  'dormant',
  'up',
] as const;
type OperState = (typeof operStates)[number];

/** A network interface as the kernel shows it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, ...; undefined for hardware and `lo`. */
  readonly kind: string | undefined;
  readonly isUp: boolean;
  readonly operState: OperState;
  readonly mtu: number;
  /** `02:42:ac:11:00:02`; undefined where the link has none. */
  readonly mac: string | undefined;
  readonly masterIndex: number | undefined;
  /** A veth's peer, a macvlan's parent. An index of another namespace when `linkNetnsId` is set. */
  readonly linkIndex: number | undefined;
  readonly linkNetnsId: number | undefined;
  /** How many users asked for promiscuous mode. */
  readonly promiscuity: number;
  readonly alias: string | undefined;
  /** Set on a port of a bridge. */
  readonly bridgePort: BridgePort | undefined;
  /** Set on a vxlan. */
  readonly vxlan: VxlanAttributes | undefined;
  /** Set on a bridge of a kernel that can filter VLANs. */
  readonly vlanFiltering: boolean | undefined;
}

interface BridgePort {
  /** The spanning tree state: 3 is forwarding. */
  readonly state: number;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly learning: boolean;
}

interface VxlanAttributes {
  readonly vni: number;
  readonly port: number;
  readonly local: IpAddress | undefined;
  readonly learning: boolean;
}

/** What may be asked for of any link that is made. */
export interface LinkAttributes {
  readonly name: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: string;
  readonly up?: boolean;
  /** The index of the bridge that takes the link as a port. */
  readonly master?: number;
  /** A descriptor of the network namespace in which the link is made. */
  readonly netnsFd?: number;
  readonly alias?: string;
}

/** The far end of a veth pair. */
interface VethPeer {
  readonly name: string;
  readonly netnsFd?: number;
  readonly mtu?: number;
  readonly mac?: string;
}

export interface VxlanOptions {
  readonly vni: number;
  /** The UDP port; the kernel's own default is 8472, not IANA's 4789. */
  readonly port: number;
  readonly local?: IpAddress;
  /** The index of the link that carries the tunnel. */
  readonly underlay?: number;
  /** Whether the kernel learns forwarding entries from traffic. */
  readonly learning: boolean;
}

export interface BridgeOptions {
  readonly vlanFiltering?: boolean;
}

export interface BridgePortOptions {
  readonly hairpin?: boolean;
  readonly isolated?: boolean;
  readonly learning?: boolean;
}

const IFF_UP = 0x1;
const IFF_PROMISC = 0x100;
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  master: 10,
  operState: 16,
  linkInfo: 18,
  alias: 20,
  netNsFd: 28,
  extMask: 29,
  promiscuity: 30,
  linkNetnsId: 37,
} as const;
const INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const IFLA_BR_VLAN_FILTERING = 7;
const BRPORT = { state: 1, hairpin: 4, learning: 8, isolated: 33 } as const;
const VXLAN = { id: 1, link: 3, local: 4, learning: 7, port: 15, local6: 17 } as const;
const IFLA_VLAN_ID = 1;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN_MODE = 1;
const RTEXT_FILTER_SKIP_STATS = 8;

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
export type MacvlanMode = keyof typeof macvlanModes;
export type IpvlanMode = keyof typeof ipvlanModes;

/** The kind with its own data, as link creation needs it. */
export type LinkKind =
  | { readonly kind: 'dummy' }
  | { readonly kind: 'bridge'; readonly options: BridgeOptions }
  | { readonly kind: 'veth'; readonly peer: VethPeer }
  | { readonly kind: 'vxlan'; readonly options: VxlanOptions }
  | { readonly kind: 'vlan'; readonly parent: number; readonly vid: number }
  | { readonly kind: 'macvlan'; readonly parent: number; readonly mode: MacvlanMode }
  | { readonly kind: 'ipvlan'; readonly parent: number; readonly mode: IpvlanMode };

interface InterfaceHeader {
  readonly family?: number;
  readonly index?: number;
  readonly flags?: number;
  readonly changeMask?: number;
}

/** `struct ifinfomsg`. */
export function encodeInterfaceHeader(header: InterfaceHeader): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeUInt8(header.family ?? 0, 0);
  buffer.writeInt32LE(header.index ?? 0, 4);
  buffer.writeUInt32LE(header.flags ?? 0, 8);
  buffer.writeUInt32LE(header.changeMask ?? 0, 12);
  return buffer;
}

/** The payload of RTM_NEWLINK that makes a link. */
export function encodeNewLink(attributes: LinkAttributes, kind: LinkKind): Buffer {
  const flags = attributes.up === true ? IFF_UP : 0;
  const writer = new AttributeWriter(encodeInterfaceHeader({ flags, changeMask: flags }));
  writer.string(IFLA.name, attributes.name);
  writeCommon(writer, attributes);
  if (attributes.master !== undefined) writer.u32(IFLA.master, attributes.master);
  if (attributes.alias !== undefined) writer.string(IFLA.alias, attributes.alias);
  if ('parent' in kind) writer.u32(IFLA.link, kind.parent);
  writer.nestPlain(IFLA.linkInfo, (info) => {
    info.string(INFO.kind, kind.kind);
    writeKindData(info, kind);
  });
  return writer.take();
}

/** What RTM_SETLINK changes; a key that is absent stays as it is. */
export interface LinkChange {
  readonly up?: boolean;
  readonly promisc?: boolean;
  /** 0 releases the link from its bridge. */
  readonly master?: number;
  readonly mtu?: number;
  readonly name?: string;
  readonly mac?: string;
  readonly netnsFd?: number;
  readonly alias?: string;
}

/** The payload of RTM_NEWLINK that changes the link of that index. */
export function encodeLinkChange(index: number, change: LinkChange): Buffer {
  const flags = (change.up === true ? IFF_UP : 0) | (change.promisc === true ? IFF_PROMISC : 0);
  const changeMask =
    (change.up === undefined ? 0 : IFF_UP) | (change.promisc === undefined ? 0 : IFF_PROMISC);
  const writer = new AttributeWriter(encodeInterfaceHeader({ index, flags, changeMask }));
  if (change.name !== undefined) writer.string(IFLA.name, change.name);
  writeCommon(writer, change);
  if (change.master !== undefined) writer.u32(IFLA.master, change.master);
  if (change.alias !== undefined) writer.string(IFLA.alias, change.alias);
  return writer.take();
}

/** The payload of RTM_NEWLINK that sets options of a bridge's port. */
export function encodeBridgePort(index: number, options: BridgePortOptions): Buffer {
  const writer = new AttributeWriter(encodeInterfaceHeader({ index }));
  writer.nestPlain(IFLA.linkInfo, (info) => {
    info.string(INFO.slaveKind, 'bridge');
    info.nest(INFO.slaveData, (data) => {
      if (options.hairpin !== undefined) data.u8(BRPORT.hairpin, Number(options.hairpin));
      if (options.learning !== undefined) data.u8(BRPORT.learning, Number(options.learning));
      if (options.isolated !== undefined) data.u8(BRPORT.isolated, Number(options.isolated));
    });
  });
  return writer.take();
}

/** The payload of RTM_GETLINK without the counters, which are most of an answer. */
export function encodeLinkQuery(target: { name: string } | { index: number } | 'all'): Buffer {
  const index = typeof target === 'object' && 'index' in target ? target.index : 0;
  const writer = new AttributeWriter(encodeInterfaceHeader({ index }));
  if (typeof target === 'object' && 'name' in target) writer.string(IFLA.name, target.name);
  writer.u32(IFLA.extMask, RTEXT_FILTER_SKIP_STATS);
  return writer.take();
}

/** Reads the payload of an RTM_NEWLINK. */
export function decodeLink(payload: Buffer): Link {
  const attributes = decodeAttributes(payload.subarray(16));
  const info = decodeAttributes(attributes.get(IFLA.linkInfo) ?? Buffer.alloc(0));
  const data = decodeAttributes(info.get(INFO.data) ?? Buffer.alloc(0));
  const kind = textOf(info.get(INFO.kind));
  const vlanFiltering = kind === 'bridge' ? numberOf(data.get(IFLA_BR_VLAN_FILTERING)) : undefined;
  return {
    index: payload.readInt32LE(4),
    name: textOf(attributes.get(IFLA.name)) ?? '',
    kind,
    isUp: (payload.readUInt32LE(8) & IFF_UP) !== 0,
    operState: operStates[numberOf(attributes.get(IFLA.operState)) ?? 0] ?? 'unknown',
    mtu: numberOf(attributes.get(IFLA.mtu)) ?? 0,
    mac: formatMac(attributes.get(IFLA.address)),
    masterIndex: numberOf(attributes.get(IFLA.master)),
    linkIndex: numberOf(attributes.get(IFLA.link)),
    linkNetnsId: attributes.get(IFLA.linkNetnsId)?.readInt32LE(0),
    promiscuity: numberOf(attributes.get(IFLA.promiscuity)) ?? 0,
    alias: textOf(attributes.get(IFLA.alias)),
    bridgePort: textOf(info.get(INFO.slaveKind)) === 'bridge' ? decodeBridgePort(info) : undefined,
    vxlan: kind === 'vxlan' ? decodeVxlan(data) : undefined,
    vlanFiltering: vlanFiltering === undefined ? undefined : vlanFiltering !== 0,
  };
}

/** `02:42:ac:11:00:02` as bytes. @throws Error on anything else */
export function parseMac(text: string): Buffer {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) throw new Error(`${text} is not a MAC address`);
  return Buffer.from(text.replaceAll(/[:-]/g, ''), 'hex');
}

export function formatMac(bytes: Buffer | undefined): string | undefined {
  if (bytes?.length !== 6) return undefined;
  return bytes.toString('hex').replaceAll(/(..)(?=.)/g, '$1:');
}

function writeCommon(
  writer: AttributeWriter,
  attributes: { readonly mtu?: number; readonly mac?: string; readonly netnsFd?: number },
): void {
  if (attributes.mtu !== undefined) writer.u32(IFLA.mtu, attributes.mtu);
  if (attributes.mac !== undefined) writer.bytes(IFLA.address, parseMac(attributes.mac));
  if (attributes.netnsFd !== undefined) writer.u32(IFLA.netNsFd, attributes.netnsFd);
}

function writeKindData(info: AttributeWriter, kind: LinkKind): void {
  switch (kind.kind) {
    case 'dummy':
      return;
    case 'bridge': {
      const { vlanFiltering } = kind.options;
      if (vlanFiltering === undefined) return;
      info.nestPlain(INFO.data, (data) => data.u8(IFLA_BR_VLAN_FILTERING, Number(vlanFiltering)));
      return;
    }
    case 'veth':
      info.nestPlain(INFO.data, (data) => {
        const peer = (inner: AttributeWriter): void => {
          inner.string(IFLA.name, kind.peer.name);
          writeCommon(inner, kind.peer);
        };
        data.nestPlain(VETH_INFO_PEER, peer, encodeInterfaceHeader({}));
      });
      return;
    case 'vxlan':
      info.nestPlain(INFO.data, (data) => writeVxlan(data, kind.options));
      return;
    case 'vlan':
      info.nestPlain(INFO.data, (data) => data.u16(IFLA_VLAN_ID, kind.vid));
      return;
    case 'macvlan':
      info.nestPlain(INFO.data, (data) => data.u32(IFLA_MACVLAN_MODE, macvlanModes[kind.mode]));
      return;
    case 'ipvlan':
      info.nestPlain(INFO.data, (data) => data.u16(IFLA_IPVLAN_MODE, ipvlanModes[kind.mode]));
  }
}

function writeVxlan(data: AttributeWriter, options: VxlanOptions): void {
  data.u32(VXLAN.id, options.vni);
  if (options.underlay !== undefined) data.u32(VXLAN.link, options.underlay);
  if (options.local !== undefined) {
    data.bytes(options.local.family === 4 ? VXLAN.local : VXLAN.local6, ipToBytes(options.local));
  }
  data.u8(VXLAN.learning, Number(options.learning));
  data.u16be(VXLAN.port, options.port);
}

function decodeVxlan(data: Map<number, Buffer>): VxlanAttributes {
  const local = data.get(VXLAN.local) ?? data.get(VXLAN.local6);
  return {
    vni: numberOf(data.get(VXLAN.id)) ?? 0,
    port: data.get(VXLAN.port)?.readUInt16BE(0) ?? 0,
    local: local === undefined ? undefined : ipFromBytes(local),
    learning: numberOf(data.get(VXLAN.learning)) === 1,
  };
}

function decodeBridgePort(info: Map<number, Buffer>): BridgePort {
  const data = decodeAttributes(info.get(INFO.slaveData) ?? Buffer.alloc(0));
  return {
    state: numberOf(data.get(BRPORT.state)) ?? 0,
    hairpin: numberOf(data.get(BRPORT.hairpin)) === 1,
    isolated: numberOf(data.get(BRPORT.isolated)) === 1,
    learning: numberOf(data.get(BRPORT.learning)) === 1,
  };
}
