/**
 * On a host with cgroup v2 alone CRIU puts processes where its images say, and runc does not tell it another place: a restored container
 * would live in the cgroup of the one that was saved, or in any that an archive names, without the limits of its request. So the images
 * are told the new container's.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { quote } from '../../lib/ids.ts';
import { type Message, messageIn, messagesIn, numberOf, readImage, textOf } from './criu-images.ts';
import { tooMuch } from './too-much.ts';

const fileName = 'cgroup.img';
/** CRIU's include/magic.h: what every image begins with, and what this one does. */
const magic = [0x5456_4319, 0x5938_3330] as const;

/** Field numbers of CRIU's images/cgroup.proto. */
const set = { id: 1, members: 2 } as const;
const member = { hierarchy: 1, path: 2, namespacePrefix: 3 } as const;
const controller = { names: 1, directories: 2 } as const;
const directory = { name: 1, children: 2 } as const;
const entry = { sets: 1, controllers: 2 } as const;
/** Of inventory.proto, pstree.proto and core.proto: which set CRIU was in itself, and which one a process is in. */
const inventoryField = { criuSet: 5 } as const;
const treeField = { id: 1, parent: 2 } as const;
const coreField = { task: 3, taskSet: 9, thread: 5, threadSet: 16 } as const;
/** The name of the one hierarchy of cgroup v2. */
const unified = '';

export interface UnifiedCgroup {
  /** From the root of the hierarchy: `/gantry/POD/CONTAINER`. */
  readonly path: string;
  /** Whether the container sees it as its root. */
  readonly isRoot: boolean;
}

/**
 * Rewrites a vetted checkpoint for a container's cgroup. What lay below the old one lies below the new one.
 * @throws EngineError permission-denied for what was saved elsewhere than in cgroup v2, or was in no cgroup of its own; data-loss
 */
export async function adoptUnifiedCgroup(images: string, { path, isRoot }: UnifiedCgroup): Promise<void> {
  const [image, ...more] = readImage(images, fileName);
  if (image === undefined || more.length > 0) throw tooMuch('it does not say which cgroup it was in');
  vetFirstProcess(images);
  const directories = messagesIn(image, entry.controllers).flatMap((one) =>
    messagesIn(one, controller.directories),
  );
  const heads = directories.map((one) => `/${textOf(one, directory.name)}`);
  const writer = new BinaryWriter();
  const bases = new Set<string>();
  for (const one of messagesIn(image, entry.sets)) {
    const { base, inner } = placeOf(one, heads);
    bases.add(base);
    const message = setMessage(numberOf(one, set.id), `${path}${inner}`, isRoot ? path.length : 0);
    writer.tag(entry.sets, WireType.LengthDelimited).bytes(message);
  }
  const message = controllerMessage(directories, bases, path);
  const bytes = writer.tag(entry.controllers, WireType.LengthDelimited).bytes(message).finish();
  const head = Buffer.alloc(12);
  for (const [index, word] of [...magic, bytes.length].entries()) head.writeUInt32LE(word, index * 4);
  await writeFile(join(images, fileName), Buffer.concat([head, bytes]));
}

interface Place {
  /** The container's cgroup. */
  readonly base: string;
  /** Below it: empty, or `/init.scope`. */
  readonly inner: string;
}

function placeOf(message: Message, heads: readonly string[]): Place {
  const [only, ...more] = messagesIn(message, set.members);
  if (only === undefined || more.length > 0 || textOf(only, member.hierarchy) !== unified)
    throw tooMuch('it was not saved on a host with cgroup v2 alone');
  const path = textOf(only, member.path);
  const prefix = numberOf(only, member.namespacePrefix);
  const base = prefix > 0 ? path.slice(0, prefix) : heads.find((head) => isIn(path, head));
  if (base === undefined || !isIn(path, base)) throw tooMuch(`its cgroup ${quote(path)} lies nowhere`);
  return { base, inner: path.slice(base.length) };
}

function isIn(path: string, base: string): boolean {
  return path === base || path.startsWith(`${base}/`);
}

function setMessage(id: number, path: string, prefix: number): Uint8Array {
  const place = new BinaryWriter();
  place.tag(member.hierarchy, WireType.LengthDelimited).string(unified);
  place.tag(member.path, WireType.LengthDelimited).string(path);
  if (prefix > 0) place.tag(member.namespacePrefix, WireType.Varint).uint32(prefix);
  const writer = new BinaryWriter();
  writer.tag(set.id, WireType.Varint).uint32(id);
  return writer.tag(set.members, WireType.LengthDelimited).bytes(place.finish()).finish();
}

/** The directories that CRIU makes where they are not. The container's own is there, with the limits and the owner of the request. */
function controllerMessage(
  directories: readonly Message[],
  bases: ReadonlySet<string>,
  path: string,
): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(controller.names, WireType.LengthDelimited).string(unified);
  for (const one of directories) {
    const old = `/${textOf(one, directory.name)}`;
    const base = [...bases].find((candidate) => isIn(old, candidate));
    if (base === undefined) continue;
    const name = `${path}${old.slice(base.length)}`.slice(1);
    const own = directoryMessage(one, { name, isBase: old === base });
    writer.tag(controller.directories, WireType.LengthDelimited).bytes(own);
  }
  return writer.finish();
}

/** The base keeps what is below it alone. */
function directoryMessage(old: Message, { name, isBase }: { name: string; isBase: boolean }): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(directory.name, WireType.LengthDelimited).string(name);
  for (const [number, values] of old) {
    if (isBase ? number !== directory.children : number === directory.name) continue;
    for (const value of values)
      if (typeof value !== 'bigint') writer.tag(number, WireType.LengthDelimited).bytes(value);
  }
  return writer.finish();
}

/** One that is in no set, or in CRIU's own, would stay in the cgroup from which CRIU restores it; the others follow the first. */
function vetFirstProcess(images: string): void {
  const [inventory = new Map()] = readImage(images, 'inventory.img');
  const criuSet = numberOf(inventory, inventoryField.criuSet);
  const first = readImage(images, 'pstree.img').filter((one) => numberOf(one, treeField.parent) === 0);
  for (const one of first) {
    const [core = new Map()] = readImage(images, `core-${numberOf(one, treeField.id)}.img`);
    const ofThread = numberOf(messageIn(core, coreField.thread), coreField.threadSet);
    const id = ofThread || numberOf(messageIn(core, coreField.task), coreField.taskSet);
    if (id === 0 || id === criuSet) throw tooMuch('its first process is in no cgroup of it');
  }
}
