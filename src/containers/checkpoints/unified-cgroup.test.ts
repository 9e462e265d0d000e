import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { messageIn, messagesIn, numberOf, readImage, textOf } from './criu-images.ts';
import { core, type Fields, image } from './testing/fitting-images.ts';
import { adoptUnifiedCgroup } from './unified-cgroup.ts';

const member = (path: string, prefix = 0): Fields => ({
  1: '',
  2: path,
  ...(prefix > 0 ? { 3: prefix } : {}),
});
const old = '/gantry/pod/old';
const perms: Fields = { 1: 0o40777, 2: 1000, 3: 1000 };
const inner: Fields = { 1: 'init.scope', 3: { 1: 'pids.max', 2: '7' }, 4: perms };
/** As CRIU writes it of a container with a cgroup namespace and a cgroup of its own making. */
const saved: Fields = {
  1: [
    { 1: 2, 2: member(old, old.length) },
    { 1: 3, 2: member(`${old}/init.scope`, old.length) },
  ],
  2: { 1: '', 2: { 1: old.slice(1), 2: inner, 3: { 1: 'memory.max', 2: 'max' }, 4: perms }, 3: 0 },
};

async function adopt(
  t: TestContext,
  cgroups: Fields,
  more: { task?: Fields; thread?: Fields; isRoot?: boolean } = {},
) {
  const images = mkdtempSync(join(tmpdir(), 'gantry-unified-'));
  t.after(() => rmSync(images, { recursive: true }));
  const files = {
    'cgroup.img': image(cgroups),
    'inventory.img': image({ 1: 1, 5: 1 }).subarray(4),
    'pstree.img': image({ 1: 7, 2: 0, 3: 7, 4: 7, 5: 7 }, { 1: 9, 2: 7, 3: 7, 4: 7, 5: 9 }),
    'core-7.img': image(core({ task: { 9: 2 }, ...more })),
    'core-9.img': image(core()),
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(images, name), bytes);
  await adoptUnifiedCgroup(images, { path: '/gantry/other/new', isRoot: more.isRoot ?? true });
  const bytes = readFileSync(join(images, 'cgroup.img'));
  assert.deepEqual([bytes.readUInt32LE(0), bytes.readUInt32LE(4)], [0x5456_4319, 0x5938_3330]);
  const [message = new Map()] = readImage(images, 'cgroup.img');
  const sets = messagesIn(message, 1).map((set) => {
    const place = messageIn(set, 2);
    return [numberOf(set, 1), textOf(place, 1), textOf(place, 2), numberOf(place, 3)];
  });
  const controller = messageIn(message, 2);
  return { sets, names: controller.get(1)?.map(String), directories: messagesIn(controller, 2) };
}

test('processes of a checkpoint are restored into the cgroup of the new container, and below it', async (t) => {
  const { sets, names, directories } = await adopt(t, saved);
  assert.deepEqual(sets, [
    [2, '', '/gantry/other/new', 17],
    [3, '', '/gantry/other/new/init.scope', 17],
  ]);
  assert.deepEqual(names, ['']);
  const [own = new Map(), ...more] = directories;
  assert.deepEqual([textOf(own, 1), more.length], ['gantry/other/new', 0]);
  // Limits and owner are the new request's.
  assert.deepEqual([own.get(3), own.get(4)], [undefined, undefined]);
  const below = messageIn(own, 2);
  assert.deepEqual([textOf(below, 1), textOf(messageIn(below, 3), 1)], ['init.scope', 'pids.max']);
  assert.equal(numberOf(messageIn(below, 4), 2), 1000);
});

test('without a namespace of cgroups, as a privileged container', async (t) => {
  const { sets } = await adopt(
    t,
    { 1: { 1: 2, 2: member(`${old}/a`) }, 2: { 1: '', 2: { 1: old.slice(1) } } },
    { isRoot: false },
  );
  assert.deepEqual(sets, [[2, '', '/gantry/other/new/a', 0]]);
});

test('the request says whether there is a namespace, and directories elsewhere are not made', async (t) => {
  const elsewhere: Fields = { 1: 'system.slice/ssh.service', 3: { 1: 'cgroup.kill', 2: '1' } };
  const { sets, directories } = await adopt(t, {
    1: { 1: 2, 2: member(old, old.length) },
    2: { 1: '', 2: [elsewhere, { 1: `${old}/a`.slice(1), 4: perms }] },
  });
  assert.deepEqual(sets, [[2, '', '/gantry/other/new', 17]]);
  assert.deepEqual(
    directories.map((one) => textOf(one, 1)),
    ['gantry/other/new/a'],
  );
  const apart = await adopt(t, saved, { isRoot: false });
  assert.deepEqual(apart.sets[0], [2, '', '/gantry/other/new', 0]);
});

for (const [what, cgroups, reason] of [
  [
    'cgroup v1',
    { 1: { 1: 2, 2: { 1: 'memory', 2: '/a' } }, 2: { 1: 'memory', 2: { 1: 'a' } } },
    /cgroup v2 alone/,
  ],
  ['both', { 1: { 1: 2, 2: [member(old, 5), { 1: 'pids', 2: '/a' }] } }, /cgroup v2 alone/],
  [
    'a cgroup beside all that it has',
    { 1: { 1: 2, 2: member('/system.slice') }, 2: { 1: '', 2: { 1: 'a' } } },
    /lies nowhere/,
  ],
  ['a namespace that ends within a name', { 1: { 1: 2, 2: member('/a/b../..', 4) } }, /lies nowhere/],
] as const)
  test(`${what}: refused`, async (t) => {
    await assert.rejects(adopt(t, cgroups), (error: Error) => {
      assert.match(error.message, reason);
      return true;
    });
  });

for (const [what, said] of [
  ['no', { task: { 9: 0 } }],
  ['CRIU’s', { task: { 9: 1 } }],
  ['CRIU’s, of its thread,', { task: { 9: 2 }, thread: { 16: 1 } }],
] as const)
  test(`a first process in ${what} cgroup would stay where CRIU is: refused`, async (t) => {
    await assert.rejects(adopt(t, saved, said), /first process is in no cgroup of it/);
  });
