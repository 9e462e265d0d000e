/** Tar archives for tests, also such as no honest writer makes. */
import { createHash } from 'node:crypto';
import { parseDigest, type DiffId } from '../../../lib/ids.ts';

interface HeaderFields {
  readonly name: string;
  /** Default: '0', a file; '5' if the name ends in a slash. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly mtime?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  /** GNU instead of ustar. */
  readonly isGnu?: boolean;
  /** Last word on the bytes, before the checksum. */
  readonly edit?: (header: Buffer) => void;
}

const octal = (value: number, length: number): string => `${value.toString(8).padStart(length - 1, '0')}\0`;

export function header(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  const type = fields.type ?? (fields.name.endsWith('/') ? '5' : '0');
  block.write(fields.name, 0, 100, 'latin1');
  block.write(octal(fields.mode ?? (type === '5' ? 0o755 : 0o644), 8), 100, 'latin1');
  block.write(octal(fields.uid ?? 0, 8), 108, 'latin1');
  block.write(octal(fields.gid ?? 0, 8), 116, 'latin1');
  block.write(octal(fields.size ?? 0, 12), 124, 'latin1');
  block.write(octal(fields.mtime ?? 1_700_000_000, 12), 136, 'latin1');
  block.write(type, 156, 'latin1');
  block.write(fields.link ?? '', 157, 100, 'latin1');
  block.write(fields.isGnu === true ? 'ustar  \0' : 'ustar\x0000', 257, 'latin1');
  block.write(octal(fields.major ?? 0, 8), 329, 'latin1');
  block.write(octal(fields.minor ?? 0, 8), 337, 'latin1');
  fields.edit?.(block);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A header with its data, padded. */
export function entry(fields: HeaderFields, data: Buffer | string = ''): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  const padding = Buffer.alloc((512 - (bytes.length % 512)) % 512);
  return Buffer.concat([header({ size: bytes.length, ...fields }), bytes, padding]);
}

/** A PAX header for the entry that follows. */
export function pax(records: Readonly<Record<string, string | Buffer>>): Buffer {
  const lines = Object.entries(records).map(([key, value]) => paxRecord(key, Buffer.from(value)));
  return entry({ name: 'PaxHeaders/x', type: 'x' }, Buffer.concat(lines));
}

function paxRecord(key: string, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** A GNU long name (`L`) or link (`K`) for the entry that follows. */
export function longName(name: string, type: 'L' | 'K' = 'L'): Buffer {
  return entry({ name: '././@LongLink', type, isGnu: true }, Buffer.from(`${name}\0`, 'latin1'));
}

/** The archive: entries and two blocks of zeros. */
export function archive(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

export function diffIdOf(tar: Buffer): DiffId {
  return parseDigest(`sha256:${createHash('sha256').update(tar).digest('hex')}`) as DiffId;
}
