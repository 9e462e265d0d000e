/** IP addresses and prefixes as values: parsed once, compared and counted as integers, printed as RFC 5952 says. */
import { isIP } from 'node:net';
import { EngineError } from './errors.ts';
import { quote } from './ids.ts';

/** An IPv4-mapped IPv6 address is read as the IPv4 address that it holds, so that one address has one form. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** An address with the length of its network's prefix. The address may have host bits. */
export interface IpPrefix {
  readonly address: IpAddress;
  readonly length: number;
}

const mappedPrefix = 0xffffn;

/** Undefined for what is not an address. Zones (`%eth0`) are refused. */
export function parseIp(text: string): IpAddress | undefined {
  const family = isIP(text);
  if (family === 4) return { family: 4, value: parseV4(text) };
  if (family !== 6 || text.includes('%')) return undefined;
  const value = parseV6(text);
  if (value >> 32n === mappedPrefix) return { family: 4, value: value & 0xffffffffn };
  return { family: 6, value };
}

/** @throws EngineError invalid-argument naming `what` */
export function requireIp(text: string, what: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) {
    throw new EngineError('invalid-argument', `${what}: ${quote(text)} is not an IP address`);
  }
  return address;
}

/** `10.1.2.3/24`; undefined for what is not a prefix. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const slash = text.indexOf('/');
  if (slash === -1) return undefined;
  const address = parseIp(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (address === undefined || !/^\d{1,3}$/.test(digits)) return undefined;
  const length = Number(digits);
  return length > bitsOf(address.family) ? undefined : { address, length };
}

/** @throws EngineError invalid-argument naming `what` */
export function requirePrefix(text: string, what: string): IpPrefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) {
    throw new EngineError(
      'invalid-argument',
      `${what}: ${quote(text)} is not an address with a prefix length`,
    );
  }
  return prefix;
}

/** The shortest form, in lower case. */
export function formatIp(address: IpAddress): string {
  return address.family === 4 ? formatV4(address.value) : formatV6(address.value);
}

export function formatPrefix(prefix: IpPrefix): string {
  return `${formatIp(prefix.address)}/${prefix.length}`;
}

/** The prefix without its host bits: `10.1.2.3/24` is in the network `10.1.2.0/24`. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  const hostBits = BigInt(bitsOf(prefix.address.family) - prefix.length);
  const value = (prefix.address.value >> hostBits) << hostBits;
  return { address: { family: prefix.address.family, value }, length: prefix.length };
}

/** The last address of the network: for IPv4 its broadcast address. */
export function lastAddressOf(prefix: IpPrefix): IpAddress {
  const hostBits = BigInt(bitsOf(prefix.address.family) - prefix.length);
  const value = networkOf(prefix).address.value | ((1n << hostBits) - 1n);
  return { family: prefix.address.family, value };
}

export function prefixContains(prefix: IpPrefix, address: IpAddress): boolean {
  if (prefix.address.family !== address.family) return false;
  const hostBits = BigInt(bitsOf(address.family) - prefix.length);
  return prefix.address.value >> hostBits === address.value >> hostBits;
}

/** The address `distance` further on. */
export function ipOffset(address: IpAddress, distance: bigint): IpAddress {
  return { family: address.family, value: address.value + distance };
}

export function sameIp(one: IpAddress, other: IpAddress): boolean {
  return one.family === other.family && one.value === other.value;
}

/** Network byte order: 4 or 16 bytes. */
export function ipToBytes(address: IpAddress): Buffer {
  const bytes = address.family === 4 ? 4 : 16;
  return Buffer.from(address.value.toString(16).padStart(bytes * 2, '0'), 'hex');
}

/** @throws Error unless there are 4 or 16 bytes */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length !== 4 && bytes.length !== 16) throw new Error(`an address of ${bytes.length} bytes`);
  const value = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** 32 or 128. */
export function bitsOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

function parseV4(text: string): bigint {
  return text.split('.').reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseV6(text: string): bigint {
  const [head = '', tail] = withoutDottedTail(text).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

function withoutDottedTail(text: string): string {
  if (!text.includes('.')) return text;
  const start = text.lastIndexOf(':') + 1;
  const value = parseV4(text.slice(start));
  return `${text.slice(0, start)}${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
}

function formatV4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join('.');
}

function formatV6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    Number((value >> BigInt(112 - 16 * index)) & 0xffffn),
  );
  const { start, length } = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}
