/**
 * Masquerading of what pods send out of their network: one nftables chain a subnet, made with the first attachment and
 * removed with the last. Who is attached is kept as empty files under the run directory, which ends with the boot as
 * the rules do; so an ADD on a network that is set up starts no process.
 */
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { formatPrefix, networkOf, type IpPrefix } from '../../lib/ip-address.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { applyNftables, hasNftablesChain, hasNftablesTable, listNftables } from '../../linux/nftables.ts';

const family = 'inet';
const table = 'gantry_masquerade';
const chainSchema = z.object({ chain: z.object({ name: z.string() }) });

/** One attachment to a network, as far as masquerading needs to know it. */
export interface Member {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

export class Masquerade {
  readonly #turns = new KeyedLock<'rules'>();

  /** Makes sure that the subnets are masqueraded as long as the member is there. Mended when somebody flushed the rules. */
  async add(runDir: string, member: Member, addresses: readonly IpPrefix[]): Promise<void> {
    using _ = await this.#turns.acquire('rules');
    for (const subnet of addresses.map((address) => networkOf(address))) {
      const directory = join(membersRoot(runDir), keyOf(subnet));
      mkdirSync(directory, { recursive: true });
      // Before the rule: a crash in between leaves a member that DEL or GC takes away, never a rule without one.
      writeFileSync(join(directory, fileNameOf(member)), '');
      if (await hasNftablesChain(family, table, keyOf(subnet))) continue;
      await applyNftables(rulesFor(subnet));
    }
  }

  /** Idempotent. */
  async remove(runDir: string, member: Member): Promise<void> {
    const name = fileNameOf(member);
    await this.#removeWhere(runDir, (each) => each === name);
  }

  /** Takes away the members of `network` that are not valid. */
  async removeInvalid(
    runDir: string,
    network: string,
    isValid: (containerId: string, ifName: string) => boolean,
  ): Promise<void> {
    await this.#removeWhere(runDir, (name) => {
      const [memberOf, containerId = '', ifName = ''] = name.split(',');
      return memberOf === network && !isValid(containerId, ifName);
    });
  }

  /** Takes away the members of containers that are not known, and rules that have lost their members. */
  async sweep(runDir: string, isKnown: (containerId: string) => boolean): Promise<void> {
    await this.#removeWhere(runDir, (name) => !isKnown(name.split(',')[1] ?? ''));
    using _ = await this.#turns.acquire('rules');
    if (!(await hasNftablesTable(family, table))) return;
    const kept = new Set(entriesOf(membersRoot(runDir)));
    const objects = (await listNftables(family, table)) ?? [];
    const chains = objects.flatMap((object) => chainSchema.safeParse(object).data?.chain.name ?? []);
    for (const name of chains.filter((chain) => !kept.has(chain))) await dropChain(name);
    if (kept.size === 0) await applyNftables([{ delete: { table: { family, name: table } } }]);
  }

  /** @throws EngineError failed-precondition when the rules of a subnet are gone */
  async check(addresses: readonly IpPrefix[]): Promise<void> {
    for (const subnet of addresses.map((address) => networkOf(address))) {
      if (await hasNftablesChain(family, table, keyOf(subnet))) continue;
      throw new EngineError('failed-precondition', `${formatPrefix(subnet)} is not masqueraded`);
    }
  }

  async #removeWhere(runDir: string, isGone: (fileName: string) => boolean): Promise<void> {
    using _ = await this.#turns.acquire('rules');
    const root = membersRoot(runDir);
    for (const key of entriesOf(root)) {
      const members = entriesOf(join(root, key));
      const gone = members.filter(isGone);
      if (gone.length === 0) continue;
      // The rules first: what fails is tried again as long as the member's file is there.
      if (gone.length === members.length) await dropChain(key);
      for (const name of gone) rmSync(join(root, key, name), { force: true });
      if (gone.length === members.length) rmdirSync(join(root, key));
    }
    if (entriesOf(root).length === 0) await dropTable(root);
  }
}

function membersRoot(runDir: string): string {
  return join(runDir, 'masquerade');
}

/** The name of the subnet's chain, and of its directory. */
function keyOf(subnet: IpPrefix): string {
  return `masquerade-${formatPrefix(subnet).replaceAll(/[:/]/g, '-')}`;
}

function fileNameOf(member: Member): string {
  return [member.network, member.containerId, member.ifName].join(',');
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function rulesFor(subnet: IpPrefix): object[] {
  const chain = { family, table, name: keyOf(subnet) };
  const hook = { type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' };
  const [protocol, multicast] =
    subnet.address.family === 4 ? ['ip', { addr: '224.0.0.0', len: 4 }] : ['ip6', { addr: 'ff00::', len: 8 }];
  const own = { prefix: { addr: formatPrefix(subnet).split('/')[0], len: subnet.length } };
  const match = (op: string, field: string, right: object): object => ({
    match: { op, left: { payload: { protocol, field } }, right },
  });
  const expr = [
    match('==', 'saddr', own),
    match('!=', 'daddr', own),
    match('!=', 'daddr', { prefix: multicast }),
    { masquerade: null },
  ];
  return [
    { add: { table: { family, name: table } } },
    { add: { chain: { ...chain, ...hook } } },
    { flush: { chain } },
    { add: { rule: { family, table, chain: chain.name, expr } } },
  ];
}

async function dropChain(name: string): Promise<void> {
  const chain = { family, table, name };
  if (!(await hasNftablesChain(family, table, name))) return;
  await applyNftables([{ flush: { chain } }, { delete: { chain } }]);
}

/** Once nobody is attached: nothing of ours stays on a host that runs no pods. */
async function dropTable(root: string): Promise<void> {
  try {
    rmdirSync(root);
    await applyNftables([{ delete: { table: { family, name: table } } }]);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
