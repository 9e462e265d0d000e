/** Drops frames that a pod sends from another MAC address than its own: two nftables sets in the bridge family, one rule. */
import { errnoOf } from '../../lib/errors.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { applyNftables, hasNftablesChain } from '../../linux/nftables.ts';
import { createElement, deleteElement, listOwnedElements, type OwnedElement } from './nftables-elements.ts';

const family = 'bridge';
const table = 'gantry_spoof_check';
const chainName = 'prerouting';

/** The ports of bridges that are checked. */
export class SpoofCheck {
  readonly #turns = new KeyedLock<'rules'>();

  /** `link` is the host's end of the veth; `label` says whose it is. */
  async add(args: { readonly link: string; readonly mac: string; readonly label: string }): Promise<void> {
    using _ = await this.#turns.acquire('rules');
    const elements: OwnedElement[] = [
      { set: 'links', value: args.link, comment: args.label },
      { set: 'addresses', value: { concat: [args.link, args.mac] }, comment: args.label },
    ];
    await applyNftables([
      ...((await hasNftablesChain(family, table, chainName)) ? [] : baseRules()),
      ...elements.map((element) => createElement(family, table, element)),
    ]);
  }

  /** Takes away what belongs to attachments of which `isGone` says so. Idempotent. */
  async remove(isGone: (label: string) => boolean): Promise<void> {
    using _ = await this.#turns.acquire('rules');
    if (!(await hasNftablesChain(family, table, chainName))) return;
    const elements = (await listOwnedElements(family, table)) ?? [];
    const gone = elements.filter(({ comment }) => isGone(comment));
    if (gone.length === 0) return;
    const commands =
      gone.length === elements.length
        ? [{ delete: { table: { family, name: table } } }]
        : gone.map((element) => deleteElement(family, table, element));
    try {
      await applyNftables(commands);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}

function baseRules(): object[] {
  const link = { meta: { key: 'iifname' } };
  const source = { concat: [link, { payload: { protocol: 'ether', field: 'saddr' } }] };
  const expr = [
    { match: { op: '==', left: link, right: '@links' } },
    { match: { op: '!=', left: source, right: '@addresses' } },
    { drop: null },
  ];
  const chain = { family, table, name: chainName };
  return [
    { add: { table: { family, name: table } } },
    { add: { set: { family, table, name: 'links', type: 'ifname' } } },
    { add: { set: { family, table, name: 'addresses', type: ['ifname', 'ether_addr'] } } },
    { add: { chain: { ...chain, type: 'filter', hook: 'prerouting', prio: -300, policy: 'accept' } } },
    { add: { rule: { family, table, chain: chainName, expr } } },
  ];
}
