/** How a netlink socket works beside other work, in a network namespace of its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { indexOf, withNetns } from '../fixtures/netlink-stage.ts';
import { ThrowawayNetns } from '../fixtures/throwaway-netns.ts';
import { deleteIfThere } from '../../src/cni/plugins/delete-link.ts';
import type { SyscallError } from '../../src/linux/errors.ts';
import {
  createBridge,
  createVeth,
  deleteLink,
  deleteLinkUntilGone,
  getLink,
  listLinks,
  setLink,
} from '../../src/linux/netlink/links.ts';
import { RouteSocket } from '../../src/linux/netlink/socket.ts';
import { Poller } from '../../src/linux/poll.ts';

async function createdBridge(socket: RouteSocket): Promise<number> {
  await createBridge(socket, { name: 'br' });
  return await indexOf(socket, 'br');
}

test('links are deleted without blocking the event loop', async () => {
  using netns = new ThrowawayNetns();
  using socket = netns.inside(() => RouteSocket.open());
  await using poller = new Poller();
  const names = ['a', 'b', 'c', 'd', 'e'];
  const bridge = await createdBridge(socket);
  for (const name of names) {
    await createVeth(socket, { name, peerName: `${name}-peer` });
    await setLink(socket, { index: await indexOf(socket, name), master: bridge, up: true });
  }
  await Promise.all(
    names.map(async (name) => {
      using own = netns.inside(() => RouteSocket.open());
      await deleteLinkUntilGone(own, await indexOf(socket, name), poller);
      assert.deepEqual(
        [await getLink(socket, name), await getLink(socket, `${name}-peer`)],
        [undefined, undefined],
      );
      // The name can be used again at once.
      await createVeth(socket, { name, peerName: `${name}-peer` });
      await deleteLink(socket, await indexOf(socket, name));
    }),
  );
  assert.deepEqual(
    (await listLinks(socket)).map(({ name }) => name),
    ['lo', 'br'],
  );
  using failing = netns.inside(() => RouteSocket.open());
  await assert.rejects(deleteLinkUntilGone(failing, 4711, poller), { code: 'ENODEV' });
});

test('a link is deleted for sure while the kernel tells more of others than a socket holds', async () => {
  using netns = new ThrowawayNetns();
  using socket = netns.inside(() => RouteSocket.open());
  await using poller = new Poller();
  await createVeth(socket, { name: 'gone', peerName: 'gone-peer' });
  using own = netns.inside(() => RouteSocket.open());
  const index = await indexOf(socket, 'gone');
  const deletion = deleteIfThere({ poller }, own, index);
  await setImmediate();
  // Nothing is read meanwhile.
  netns.run(
    'sh',
    '-c',
    'for n in $(seq 300); do echo link add a$n type veth peer name b$n; done | ip -batch -',
  );
  await deletion;
  assert.equal(await getLink(socket, index), undefined);
});

test('the event loop goes on while the kernel answers', async () => {
  await withNetns(async ({ socket }) => {
    let turns = 0;
    const counting = setInterval(() => (turns += 1), 0);
    await createBridge(socket, { name: 'br0' });
    for (let wait = 0; wait < 200; wait += 1) await getLink(socket, 'br0');
    clearInterval(counting);
    // Each answer takes at least a turn of the loop; how many milliseconds pass is the machine's affair.
    assert.ok(turns > 0);
  });
});

test('calls on one socket at once get their own answers', async () => {
  await withNetns(async ({ socket }) => {
    const names = Array.from({ length: 40 }, (_, index) => `d${index}`);
    await Promise.all(
      names.map(async (name) => await createVeth(socket, { name, peerName: `${name}-peer` })),
    );
    const [links, ...found] = await Promise.all([
      listLinks(socket),
      ...names.map(async (name) => await getLink(socket, name)),
    ]);
    assert.deepEqual(
      found.map((link) => link?.name),
      names,
    );
    assert.equal(links.length, 2 * names.length + 1);
  });
});

test('what is asked at once is done in its order, and each has its own verdict', async () => {
  await withNetns(async ({ socket }) => {
    const verdicts = await Promise.allSettled([
      createBridge(socket, { name: 'br' }),
      getLink(socket, 'br'),
      createBridge(socket, { name: 'br' }),
      setLink(socket, { index: 4711, up: true }),
      getLink(socket, 'lo'),
    ]);
    const told = verdicts.map((verdict) => {
      if (verdict.status === 'fulfilled') return verdict.value?.name;
      const { code, message } = verdict.reason as SyscallError;
      return `${code} ${message}`;
    });
    const [made, bridge, again, missing, loopback] = told;
    assert.deepEqual([made, bridge, loopback], [undefined, 'br', 'lo']);
    assert.match(again ?? '', /^EEXIST RTM_NEWLINK "bridge br"/);
    assert.match(missing ?? '', /^ENODEV RTM_NEWLINK "link 4711"/);
  });
});

test('a socket that is closed under way ends its calls with an error', async () => {
  await withNetns(async ({ socket }) => {
    const calls = Promise.allSettled(['lo', 'lo'].map(async (name) => await getLink(socket, name)));
    await setImmediate();
    socket[Symbol.dispose]();
    // What the kernel had answered already is no error.
    for (const { status, ...more } of await calls)
      if (status === 'rejected') assert.equal((more as { reason: { code?: string } }).reason.code, 'EBADF');
    await assert.rejects(async () => await getLink(socket, 'lo'), { code: 'EBADF' });
  });
});

test('a closed socket says so', async () => {
  await withNetns(async ({ socket }) => {
    socket[Symbol.dispose]();
    await assert.rejects(async () => await listLinks(socket), { code: 'EBADF' });
  });
});
