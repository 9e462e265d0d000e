/**
 * The encoding that every netlink family shares: a header, a fixed part that the family defines, and attributes,
 * each aligned to four bytes, in the byte order of the host (little endian on every machine that Node 24 is built for).
 * https://docs.kernel.org/userspace-api/netlink/intro.html
 */

/** `NLM_F_*`: what a request asks for, and what an answer is. */
export const messageFlag = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  dumpInterrupted: 0x10,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
} as const;

/** Types below 16 belong to netlink itself. */
export const controlType = { error: 2, done: 3, overrun: 4 } as const;

/** In an NLMSG_ERROR: attributes of the extended acknowledgement follow (`NLM_F_ACK_TLVS`), the request is cut (`NLM_F_CAPPED`). */
const acknowledgementFlag = { capped: 0x100, attributes: 0x200 } as const;

const headerBytes = 16;
const attributeHeaderBytes = 4;
const nestedFlag = 0x8000;
const typeMask = 0x3fff;

/** One netlink message, taken apart. `payload` begins behind the header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** What is sent: the header's fields and the payload. */
export interface NetlinkRequest {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

/** A kernel's verdict. `errno` 0 is success. */
export interface Acknowledgement {
  readonly errno: number;
  /** The sentence of the extended acknowledgement, when the kernel had one. */
  readonly message: string | undefined;
}

/** Collects the attributes of a message behind its fixed part. */
export class AttributeWriter {
  readonly #parts: Buffer[] = [];

  constructor(fixedPart?: Buffer) {
    if (fixedPart !== undefined) this.#append(fixedPart);
  }

  bytes(type: number, value: Uint8Array): this {
    const header = Buffer.alloc(attributeHeaderBytes);
    header.writeUInt16LE(attributeHeaderBytes + value.length, 0);
    header.writeUInt16LE(type, 2);
    this.#append(Buffer.concat([header, value]));
    return this;
  }

  /** An attribute whose presence is its value. */
  flag(type: number): this {
    return this.bytes(type, Buffer.alloc(0));
  }

  u8(type: number, value: number): this {
    return this.bytes(type, Buffer.from([value]));
  }

  u16(type: number, value: number): this {
    const buffer = Buffer.alloc(2);
    buffer.writeUInt16LE(value);
    return this.bytes(type, buffer);
  }

  /** Network byte order, as ports are. */
  u16be(type: number, value: number): this {
    const buffer = Buffer.alloc(2);
    buffer.writeUInt16BE(value);
    return this.bytes(type, buffer);
  }

  u32(type: number, value: number): this {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32LE(value);
    return this.bytes(type, buffer);
  }

  /** NUL-terminated, as the kernel wants names. */
  string(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  /** `fixedPart` stands before the nested attributes (VETH_INFO_PEER holds an ifinfomsg). */
  nest(type: number, fill: (inner: AttributeWriter) => void, fixedPart?: Buffer): this {
    const inner = new AttributeWriter(fixedPart);
    fill(inner);
    return this.bytes(type | nestedFlag, inner.take());
  }

  /** As `nest`, without the flag: link information is written so by iproute2 and read so by old kernels. */
  nestPlain(type: number, fill: (inner: AttributeWriter) => void, fixedPart?: Buffer): this {
    const inner = new AttributeWriter(fixedPart);
    fill(inner);
    return this.bytes(type, inner.take());
  }

  take(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #append(part: Buffer): void {
    this.#parts.push(part);
    const padding = align4(part.length) - part.length;
    if (padding > 0) this.#parts.push(Buffer.alloc(padding));
  }
}

/** The bytes of a request on the wire. */
export function encodeRequest(request: NetlinkRequest, sequence: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(headerBytes + request.payload.length, 0);
  header.writeUInt16LE(request.type, 4);
  header.writeUInt16LE(request.flags, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, request.payload]);
}

/** The messages of one datagram. @throws Error on a length that lies */
export function decodeMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  let offset = 0;
  while (offset + headerBytes <= datagram.length) {
    const length = datagram.readUInt32LE(offset);
    if (length < headerBytes || offset + length > datagram.length) {
      throw new Error(`netlink message of ${length} bytes in a datagram of ${datagram.length} at ${offset}`);
    }
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      payload: datagram.subarray(offset + headerBytes, offset + length),
    });
    offset += align4(length);
  }
  return messages;
}

/** Attributes by type; of a type that occurs twice the last one. Stops quietly at a cut tail, as the kernel does. */
export function decodeAttributes(buffer: Buffer): Map<number, Buffer> {
  return new Map(decodeAttributeList(buffer));
}

/** Attributes in their order, for lists whose elements share one type. */
export function decodeAttributeList(buffer: Buffer): [type: number, value: Buffer][] {
  const attributes: [number, Buffer][] = [];
  let offset = 0;
  while (offset + attributeHeaderBytes <= buffer.length) {
    const length = buffer.readUInt16LE(offset);
    if (length < attributeHeaderBytes || offset + length > buffer.length) break;
    const type = buffer.readUInt16LE(offset + 2) & typeMask;
    attributes.push([type, buffer.subarray(offset + attributeHeaderBytes, offset + length)]);
    offset += align4(length);
  }
  return attributes;
}

/** A NUL-terminated string attribute. */
export function textOf(value: Buffer | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return value.toString('utf8', 0, end === -1 ? value.length : end);
}

/** An integer attribute of one, two or four bytes. */
export function numberOf(value: Buffer | undefined): number | undefined {
  switch (value?.length) {
    case 1:
      return value.readUInt8();
    case 2:
      return value.readUInt16LE();
    case 4:
      return value.readUInt32LE();
    default:
      return undefined;
  }
}

const extendedMessageAttribute = 1;

/** Reads an NLMSG_ERROR, or the NLMSG_DONE that ends a dump: both carry the error and the kernel's sentence. */
export function decodeAcknowledgement(message: NetlinkMessage): Acknowledgement {
  if (message.payload.length < 4) return { errno: 0, message: undefined };
  const errno = Math.abs(message.payload.readInt32LE(0));
  if ((message.flags & acknowledgementFlag.attributes) === 0) return { errno, message: undefined };
  const attributes = decodeAttributes(message.payload.subarray(attributesOffset(message)));
  return { errno, message: textOf(attributes.get(extendedMessageAttribute)) };
}

/** The attributes follow the echoed request, of which a capped acknowledgement has the header alone, and DONE nothing. */
function attributesOffset(message: NetlinkMessage): number {
  if (message.type === controlType.done || message.payload.length < 4 + headerBytes) return 4;
  const isCapped = (message.flags & acknowledgementFlag.capped) !== 0;
  return 4 + (isCapped ? headerBytes : align4(message.payload.readUInt32LE(4)));
}

function align4(length: number): number {
  return (length + 3) & ~3;
}
