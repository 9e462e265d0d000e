/**
 * CRIU's image files, as far as they say what a restored process may do. They come from an archive that nobody vouches for, and CRIU
 * believes them: so they are read as CRIU reads them (protobuf-c), and what could be read in two ways is refused.
 * https://criu.org/Images
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { readFileInRoot } from '../../linux/read-in-root.ts';

const commonMagic = 0x5456_4319;
const serviceMagic = 0x5510_5940;
/** The images that are read here describe things, they do not hold memory. */
const maxImageBytes = 16 * 1024 * 1024;

/** One message: its fields by number, each with all its values in order. */
export type Message = ReadonlyMap<number, readonly (bigint | Uint8Array)[]>;

/** The messages of an image file. @throws EngineError data-loss if it is missing, too long or damaged */
export function readImage(directory: string, name: string): Message[] {
  const bytes = readFileInRoot(directory, name, maxImageBytes);
  if (bytes === undefined) throw damaged(name, 'it is missing');
  try {
    return [...entriesOf(bytes)].map(parseMessage);
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw damaged(name, 'it is not in the form of CRIU’s images', error);
  }
}

function* entriesOf(bytes: Buffer): Generator<Buffer> {
  const magic = bytes.readUInt32LE(0);
  let at = magic === commonMagic || magic === serviceMagic ? 8 : 4;
  while (at < bytes.length) {
    const length = bytes.readUInt32LE(at);
    at += 4;
    if (length > bytes.length - at) throw new RangeError('an entry is longer than the file');
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

function parseMessage(bytes: Uint8Array): Message {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, (bigint | Uint8Array)[]>();
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const values = fields.get(number) ?? [];
    fields.set(number, values);
    values.push(valueOf(reader, type));
  }
  return fields;
}

function valueOf(reader: BinaryReader, type: WireType): bigint | Uint8Array {
  switch (type) {
    case WireType.Varint:
      return BigInt(reader.uint64());
    case WireType.Bit64:
      return BigInt(reader.fixed64());
    case WireType.Bit32:
      return BigInt(reader.fixed32());
    case WireType.LengthDelimited:
      return reader.bytes();
    default:
      throw new RangeError('groups are not used');
  }
}

/** A number, or `otherwise` where the field is absent. */
export function numberOf(message: Message, field: number, otherwise = 0): number {
  const value = single(message, field);
  if (value === undefined) return otherwise;
  if (typeof value !== 'bigint') throw damaged(`field ${field}`, 'it is not a number');
  return Number(BigInt.asUintN(32, value));
}

/** A signed 32-bit number, which travels as 64 bits. */
export function signedOf(message: Message, field: number): number | undefined {
  const value = single(message, field);
  return typeof value === 'bigint' ? Number(BigInt.asIntN(32, value)) : undefined;
}

/** A number of the type `sint32`, 0 where the field is absent. */
export function zigzagOf(message: Message, field: number): number {
  const value = numberOf(message, field);
  return (value >>> 1) ^ -(value & 1);
}

export function textOf(message: Message, field: number): string {
  const value = single(message, field);
  if (value === undefined) return '';
  if (typeof value === 'bigint') throw damaged(`field ${field}`, 'it is not a text');
  return Buffer.from(value).toString('latin1');
}

/** A message within, empty where there is none. */
export function messageIn(message: Message, field: number): Message {
  const value = single(message, field);
  if (value === undefined) return new Map();
  if (typeof value === 'bigint') throw damaged(`field ${field}`, 'it is not a message');
  return parseMessage(value);
}

export function messagesIn(message: Message, field: number): Message[] {
  return (message.get(field) ?? []).map((value) => {
    if (typeof value === 'bigint') throw damaged(`field ${field}`, 'it is not a message');
    return parseMessage(value);
  });
}

/** A list of 32-bit numbers, packed or not: CRIU takes both. */
export function numbersOf(message: Message, field: number): number[] {
  return (message.get(field) ?? []).flatMap((value) => {
    if (typeof value === 'bigint') return [Number(BigInt.asUintN(32, value))];
    const reader = new BinaryReader(value);
    const numbers: number[] = [];
    while (reader.pos < reader.len) numbers.push(Number(BigInt.asUintN(32, BigInt(reader.uint64()))));
    return numbers;
  });
}

/** Of a field that is given twice one reader takes the first, another the last, a third both. */
function single(message: Message, field: number): bigint | Uint8Array | undefined {
  const values = message.get(field) ?? [];
  if (values.length > 1) throw damaged(`field ${field}`, 'it is given more than once');
  return values[0];
}

function damaged(name: string, what: string, cause?: unknown): EngineError {
  return new EngineError('data-loss', `checkpoint image ${quote(name)}: ${what}`, { cause });
}
