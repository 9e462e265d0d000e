/** The nftables door against the kernel, in a namespace of its own. Needs root and nft. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyNftables, hasNftablesChain, listNftables, NftablesError } from '../../src/linux/nftables.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';

const table = { family: 'inet', name: 'gtest' };
const set = { family: 'inet', table: 'gtest', name: 's', type: 'ipv4_addr' };
const chain = { family: 'inet', table: 'gtest', name: 'c' };

test('a transaction is applied as a whole, listed, and asked for', async () => {
  using netns = new ThrowawayNetns();
  const options = { netnsPath: netns.path };
  const hasChain = async (): Promise<boolean> =>
    await netns.inside(async () => await hasNftablesChain('inet', 'gtest', 'c'));
  assert.equal(await listNftables('inet', 'gtest', options), undefined);
  assert.equal(await hasChain(), false);
  await applyNftables([{ add: { table } }, { add: { set } }, { add: { chain } }], options);
  assert.equal(await hasChain(), true);
  const objects = await listNftables('inet', 'gtest', options);
  assert.deepEqual(
    objects?.map((object) => Object.keys(object)[0]),
    ['table', 'set', 'chain'],
  );
  assert.match(netns.run('nft', 'list', 'ruleset'), /set s/);

  const element = { family: 'inet', table: 'gtest', name: 's', elem: ['10.0.0.1'] };
  const broken = [{ create: { element } }, { create: { element: { ...element, name: 'none' } } }];
  await assert.rejects(
    applyNftables(broken, options),
    (error) => error instanceof NftablesError && error.code === 'ENOENT',
  );
  assert.doesNotMatch(netns.run('nft', 'list', 'ruleset'), /10\.0\.0\.1/);
  await applyNftables([{ create: { element } }], options);
  await assert.rejects(applyNftables([{ create: { element } }], options), { code: 'EEXIST' });
  await applyNftables([], options);
  await applyNftables('add set inet gtest t { type inet_proto . inet_service; }', options);
  assert.match(netns.run('nft', 'list', 'ruleset'), /inet_proto \. inet_service/);

  const many = Array.from({ length: 5000 }, (_, index) => `10.1.${index >> 8}.${index & 255}`);
  await applyNftables([{ add: { element: { ...element, elem: many } } }], options);
  assert.match(netns.run('nft', 'list', 'ruleset'), /10\.1\.19\.135/);
});
