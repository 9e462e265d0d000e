import type { DeviceIo } from '../../cgroups/stats.ts';
import type { ContainerFacts, FileSystem } from './container-facts.ts';
import type { ContainerFamily, Sample } from './family.ts';

/** The file system of the writable layer, and what was read from and written to block devices. */
export const diskFamilies: readonly ContainerFamily[] = [
  {
    name: 'container_fs_usage_bytes',
    help: 'What the container has written to its writable layer, in bytes.',
    type: 'gauge',
    labels: ['device'],
    read: layerUsage,
  },
  ofFileSystem(
    'container_fs_limit_bytes',
    'Size of the file system of the writable layer, in bytes.',
    ({ sizeBytes }) => sizeBytes,
  ),
  ofFileSystem(
    'container_fs_inodes_total',
    'Inodes of the file system of the writable layer.',
    ({ inodes }) => inodes,
  ),
  ofFileSystem(
    'container_fs_inodes_free',
    'Free inodes of the file system of the writable layer.',
    ({ freeInodes }) => freeInodes,
  ),
  byDevice('container_fs_reads_total', 'Reads from the device.', ({ reads }) => reads),
  byDevice('container_fs_writes_total', 'Writes to the device.', ({ writes }) => writes),
  byDevice('container_fs_reads_bytes_total', 'Bytes read from the device.', ({ readBytes }) => readBytes),
  byDevice('container_fs_writes_bytes_total', 'Bytes written to the device.', ({ writeBytes }) => writeBytes),
  {
    name: 'container_blkio_device_usage_total',
    help: 'Bytes moved, by device and operation.',
    type: 'counter',
    labels: ['device', 'major', 'minor', 'operation'],
    read: (facts) =>
      (facts.usage.cgroup.io ?? []).flatMap((io) => {
        const device = [deviceOf(facts, io), String(io.major), String(io.minor)];
        return [
          { labels: [...device, 'Read'], value: io.readBytes },
          { labels: [...device, 'Write'], value: io.writeBytes },
        ];
      }),
  },
];

/** The only number that is measured in the background of requests: it carries its own time. */
function layerUsage({ usage: { writableLayer }, fileSystem }: ContainerFacts): Sample[] {
  if (writableLayer === undefined || fileSystem === undefined) return [];
  const readAtNs = BigInt(Math.round(writableLayer.timestampMs)) * 1_000_000n;
  return [{ labels: [fileSystem.device], value: writableLayer.usedBytes, readAtNs }];
}

function ofFileSystem(name: string, help: string, read: (fileSystem: FileSystem) => bigint): ContainerFamily {
  return {
    name,
    help,
    type: 'gauge',
    labels: ['device'],
    read: ({ fileSystem }) =>
      fileSystem === undefined ? [] : [{ labels: [fileSystem.device], value: read(fileSystem) }],
  };
}

function byDevice(name: string, help: string, read: (io: DeviceIo) => bigint): ContainerFamily {
  return {
    name,
    help,
    type: 'counter',
    labels: ['device'],
    read: (facts) =>
      (facts.usage.cgroup.io ?? []).map((io) => ({ labels: [deviceOf(facts, io)], value: read(io) })),
  };
}

function deviceOf({ deviceNames }: ContainerFacts, { major, minor }: DeviceIo): string {
  const number = `${major}:${minor}`;
  return deviceNames.get(number) ?? number;
}
