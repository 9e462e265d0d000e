/** CRIU's images of a small container, as bytes: what a checkpoint holds that fits `fittingSpec`. */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Spec } from '../../../oci/spec-types.ts';

/** Fields of a message by number; a list is a field given several times. */
export interface Fields {
  readonly [number: number]: number | string | Uint8Array | Fields | readonly Fields[] | readonly number[];
}

function encode(fields: Fields): Uint8Array {
  const writer = new BinaryWriter();
  for (const [number, value] of Object.entries(fields))
    for (const one of Array.isArray(value) ? (value as readonly Fields[]) : [value]) {
      if (typeof one === 'number') writer.tag(Number(number), 0).int64(one);
      else if (typeof one === 'string') writer.tag(Number(number), 2).string(one);
      else writer.tag(Number(number), 2).bytes(one instanceof Uint8Array ? one : encode(one as Fields));
    }
  return writer.finish();
}

/** A file with these messages. */
export function image(...messages: readonly Fields[]): Buffer {
  const entries = messages.map((message) => {
    const bytes = encode(message);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([length, bytes]);
  });
  const magic = Buffer.alloc(8);
  magic.writeUInt32LE(0x5456_4319);
  return Buffer.concat([magic, ...entries]);
}

/** A request that `fittingImages` go with; `root` is its root file system. */
export function fittingSpec(root: string): Spec {
  return {
    ociVersion: '1.0.2',
    root: { path: root },
    process: {
      args: ['true'],
      cwd: '/',
      user: { uid: 0, gid: 0 },
      oomScoreAdj: 500,
      capabilities: { bounding: ['CAP_CHOWN', 'CAP_KILL'], permitted: ['CAP_CHOWN'], ambient: [] },
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid'] },
      { destination: '/data', type: 'bind', source: '/srv', options: ['rbind', 'ro'] },
    ],
    linux: {
      namespaces: (['pid', 'network', 'ipc', 'uts', 'mount'] as const).map((type) => ({ type })),
      maskedPaths: ['/proc/uptime', '/proc/not-on-this-kernel'],
      seccomp: { defaultAction: 'SCMP_ACT_ERRNO' },
    },
  };
}

export const credentials: Fields = {
  1: 0,
  3: 0,
  5: 0,
  7: 0,
  9: [0],
  10: [1],
  11: [1],
  12: [0x21],
  18: 0,
  19: [0],
};
/** A process, with more or other fields than it has. */
export const core = (more: { creds?: Fields; thread?: Fields; task?: Fields } = {}): Fields => ({
  1: 1,
  3: { 14: 500, ...more.task },
  5: { 10: { ...credentials, ...more.creds }, 11: 2, ...more.thread },
});
const root: Fields = { 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 3, 8: 4, 9: 5 };
export const ids: Fields = { 1: 9, 2: 9, 3: 9, 4: 9, 5: 11, 6: 12, 7: 13, 8: 14, 9: 15 };
export const mounts: readonly Fields[] = [
  { 1: 17, 2: 1, 5: 0, 7: '/' },
  { 1: 1, 2: 2, 5: 2, 7: '/proc' },
  { 1: 5, 2: 3, 5: 1, 7: '/data', 18: '/data' },
  { 1: 5, 2: 4, 5: 1, 7: '/proc/uptime', 18: '/dev/null' },
];
const cgroups: Fields = { 1: [{ 1: 1, 2: { 1: 'cpu', 2: '/a/b' } }], 2: { 1: 'cpu', 2: { 1: 'a/b' } } };

/** Every image of the checkpoint by its name. */
export const fittingImages = {
  'inventory.img': image({ 1: 1, 3: root }).subarray(4),
  'core-1.img': image(core()),
  'ids-1.img': image(ids),
  'mountpoints-13.img': image(...mounts),
  'cgroup.img': image(cgroups),
  'pages-1.img': Buffer.from('memory'),
};
