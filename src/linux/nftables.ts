/**
 * nftables: changes and lists go through `nft -j` (libnftables-json(5)), one transaction a process; whether a chain
 * is there, which is asked on the hot path, is one netlink message.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { runCommand } from './command.ts';
import { AttributeWriter } from './netlink/message.ts';
import { NetlinkSocket, type NetlinkCall } from './netlink/socket.ts';

export type NftablesFamily = 'inet' | 'ip' | 'ip6' | 'bridge';

/** A transaction that was refused as a whole, or a list that could not be had. */
export class NftablesError extends Error {
  override readonly name = 'NftablesError';
  /** EEXIST, ENOENT, EBUSY where the kernel said so; `errnoOf` reads it. */
  readonly code: string | undefined;

  constructor(attempt: string, stderr: string) {
    super(`${attempt}: ${sentenceOf(stderr)}`);
    this.code = codes.find(([words]) => stderr.includes(words))?.[1];
  }
}

interface NftablesOptions {
  /** The network namespace to work in; the daemon's when absent. */
  readonly netnsPath?: string;
  readonly signal?: AbortSignal;
}

const codes: readonly (readonly [words: string, code: string])[] = [
  ['File exists', 'EEXIST'],
  ['No such file or directory', 'ENOENT'],
  ['Device or resource busy', 'EBUSY'],
  ['interval overlaps', 'EEXIST'],
];
const timeoutMs = 30_000;
// One argument may have 128 KiB. Standard input is no way in: nft opens it by name, which a socket refuses.
const maxArgumentChars = 64 * 1024;

/**
 * Applies commands all or none: `{add: {table: ...}}` and so on, or a text in nft's own language for what its JSON
 * cannot say (nft 1.0.6 writes a map's type that it does not read).
 * @throws NftablesError, EngineError when nft is missing
 */
export async function applyNftables(
  commands: readonly object[] | string,
  options: NftablesOptions = {},
): Promise<void> {
  if (commands.length === 0) return;
  const isText = typeof commands === 'string';
  const text = isText ? commands : JSON.stringify({ nftables: commands });
  const format = isText ? [] : ['-j'];
  if (text.length <= maxArgumentChars) return await runNft([...format, text], options);
  const directory = mkdtempSync(join(tmpdir(), 'gantry-nft-'));
  try {
    const path = join(directory, 'commands');
    writeFileSync(path, text);
    await runNft([...format, '-f', path], options);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The objects of a table, without their handles' meaning being promised; undefined when there is no such table. */
export async function listNftables(
  family: NftablesFamily,
  table: string,
  options: NftablesOptions = {},
): Promise<Readonly<Record<string, unknown>>[] | undefined> {
  const attempt = `list the nftables table ${family} ${table}`;
  const result = await runCommand(argv(['nft', '-j', 'list', 'table', family, table], options), {
    timeoutMs,
    signal: options.signal,
  });
  if (result.exitCode !== 0) {
    const error = new NftablesError(attempt, result.stderr);
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const parsed = JSON.parse(result.stdout.toString()) as { nftables: Record<string, unknown>[] };
    return parsed.nftables.filter((object) => !('metainfo' in object));
  } catch (error) {
    throw new NftablesError(attempt, messageOf(error));
  }
}

const NETLINK_NETFILTER = 12;
const NFT_MSG_GETTABLE = (10 << 8) | 1;
const NFTA_TABLE_NAME = 1;
const NFT_MSG_GETCHAIN = (10 << 8) | 4;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const familyNumbers = { inet: 1, ip: 2, ip6: 10, bridge: 7 } as const;

/** Whether the calling thread's namespace has that chain. */
export async function hasNftablesChain(
  family: NftablesFamily,
  table: string,
  chain: string,
): Promise<boolean> {
  const writer = new AttributeWriter(familyHeader(family));
  writer.string(NFTA_CHAIN_TABLE, table).string(NFTA_CHAIN_NAME, chain);
  return await isThere({
    type: NFT_MSG_GETCHAIN,
    payload: writer.take(),
    operation: 'NFT_MSG_GETCHAIN',
    about: `${table} ${chain}`,
  });
}

/** The same for a table. */
export async function hasNftablesTable(family: NftablesFamily, table: string): Promise<boolean> {
  const writer = new AttributeWriter(familyHeader(family));
  writer.string(NFTA_TABLE_NAME, table);
  return await isThere({
    type: NFT_MSG_GETTABLE,
    payload: writer.take(),
    operation: 'NFT_MSG_GETTABLE',
    about: table,
  });
}

function familyHeader(family: NftablesFamily): Buffer {
  return Buffer.from([familyNumbers[family], 0, 0, 0]);
}

async function isThere(call: NetlinkCall): Promise<boolean> {
  try {
    using socket = NetlinkSocket.openProtocol(NETLINK_NETFILTER);
    return (await socket.query(call)) !== undefined;
  } catch (error) {
    // A kernel whose nf_tables is not loaded yet knows no chain: the first `nft` loads it.
    if (['ENOENT', 'EINVAL', 'ENOTSUP', 'EPROTONOSUPPORT'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

async function runNft(input: readonly string[], options: NftablesOptions): Promise<void> {
  const { signal } = options;
  const result = await runCommand(argv(['nft', ...input], options), { timeoutMs, signal });
  if (result.exitCode !== 0) throw new NftablesError('change nftables', result.stderr);
}

function argv(command: readonly string[], options: NftablesOptions): readonly string[] {
  return options.netnsPath === undefined ? command : ['nsenter', `--net=${options.netnsPath}`, ...command];
}

/** The first line that says something: nft repeats the whole input below it. */
function sentenceOf(stderr: string): string {
  const line = stderr.split('\n').find((text) => text.includes('Error:')) ?? stderr.trim();
  return line.replace(/^.*?Error: /, '').slice(0, 500);
}
