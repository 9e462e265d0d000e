/**
 * A restored container joins the UTS and IPC namespaces of its new pod, where CRIU would then set what the old ones had: host name and
 * limits, of a pod in which others may run. So the images are told what the new pod has.
 */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

export interface PodSettings {
  readonly hostname: string;
  /** As the pod asked for them: `kernel.shmmax`. */
  readonly sysctls: Readonly<Record<string, string>>;
}

const magicBytes = 8;
/** What every new IPC namespace begins with (the kernel's ipc/ and include/linux/ipc_namespace.h), by the field of CRIU's images/ipc-var.proto. */
const ipcSettings: readonly (readonly [field: number, sysctl: string, initial: string])[] = [
  [1, 'kernel.sem', '32000 1024000000 500 32000'],
  [2, 'kernel.msgmax', '8192'],
  [3, 'kernel.msgmnb', '16384'],
  [4, 'kernel.msgmni', '32000'],
  [5, 'kernel.auto_msgmni', '0'],
  [6, 'kernel.shmmax', '18446744073692774399'],
  [7, 'kernel.shmall', '18446744073692774399'],
  [8, 'kernel.shmmni', '4096'],
  [9, 'kernel.shm_rmid_forced', '0'],
  [10, 'fs.mqueue.queues_max', '256'],
  [11, 'fs.mqueue.msg_max', '10'],
  [12, 'fs.mqueue.msgsize_max', '8192'],
  [13, 'fs.mqueue.msg_default', '10'],
  [14, 'fs.mqueue.msgsize_default', '8192'],
];

/** Rewrites the images of a checkpoint for a pod. */
export async function adoptPodNamespaces(
  directory: string,
  { hostname, sysctls }: PodSettings,
): Promise<void> {
  for (const name of await readdir(directory)) {
    if (/^utsns-\d+\.img$/.test(name)) await replace(join(directory, name), utsEntry(hostname));
    if (/^ipcns-var-\d+\.img$/.test(name)) await replace(join(directory, name), ipcEntry(sysctls));
  }
}

function utsEntry(hostname: string): Uint8Array {
  const noDomain = '(none)';
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(hostname);
  return writer.tag(2, WireType.LengthDelimited).string(noDomain).finish();
}

function ipcEntry(sysctls: PodSettings['sysctls']): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, name, initial] of ipcSettings)
    for (const number of (sysctls[name] ?? initial).trim().split(/\s+/))
      writer.tag(field, WireType.Varint).uint64(number);
  return writer.finish();
}

/** One message in the place of all that the file has, however long it pretends to be. */
async function replace(file: string, message: Uint8Array): Promise<void> {
  await using image = await open(file, 'r+');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  await image.truncate(magicBytes);
  await image.write(Buffer.concat([length, message]), { position: magicBytes });
}
