/** What the metrics of a container are made from, beyond its usage. Read when metrics are asked for, never for the lists of stats. */
import { readlinkSync, statfsSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { countThreads, listMembers } from '../../cgroups/members.ts';
import type { CgroupStats } from '../../cgroups/stats.ts';
import { processesOf } from '../../containers/container.ts';
import { deviceNumbers } from '../../linux/device-number.ts';
import { type MountInfo, readMounts } from '../../linux/mountinfo.ts';
import type { ContainerUsage, UsageDeps } from '../usage.ts';
import { type OpenFiles, readOpenFiles, readSoftLimits, type SoftLimit } from './process-files.ts';

/** Everything that the metrics of one container are made from. */
export interface ContainerFacts {
  readonly usage: ContainerUsage<CgroupStats>;
  readonly processes: ProcessFacts;
  /** The file system of the writable layer. */
  readonly fileSystem?: FileSystem;
  /** `/dev/sda` by `8:0`; a device that has no name here is absent. */
  readonly deviceNames: ReadonlyMap<string, string>;
}

interface ProcessFacts extends OpenFiles {
  readonly processes: number;
  readonly threads?: number;
  /** Of the first process. */
  readonly softLimits: readonly SoftLimit[];
}

export interface FileSystem {
  /** What is mounted: a block device, or the name that another kind of file system goes by. */
  readonly device: string;
  readonly sizeBytes: bigint;
  readonly inodes: bigint;
  readonly freeInodes: bigint;
}

type FactsDeps = Pick<UsageDeps, 'host' | 'containerCgroup'>;

/** What all containers of one request share: asked of the kernel once. */
export class SharedReadings {
  readonly #fileSystems = new Map<string, FileSystem | undefined>();
  readonly #deviceNames = new Map<string, string>();
  #mounts: readonly MountInfo[] | undefined;

  /** The file system that `mountpoint` lies on; undefined when it cannot be asked. */
  fileSystem(mountpoint: string): FileSystem | undefined {
    if (!this.#fileSystems.has(mountpoint)) this.#fileSystems.set(mountpoint, this.#ask(mountpoint));
    return this.#fileSystems.get(mountpoint);
  }

  /** Names of block devices, by `major:minor`, with those of `numbers` that have one. */
  deviceNames(numbers: Iterable<string>): ReadonlyMap<string, string> {
    for (const number of numbers) {
      if (this.#deviceNames.has(number)) continue;
      const link = attempt(() => readlinkSync(`/sys/dev/block/${number}`));
      if (link !== undefined) this.#deviceNames.set(number, `/dev/${basename(link)}`);
    }
    return this.#deviceNames;
  }

  #ask(mountpoint: string): FileSystem | undefined {
    const size = attempt(() => statfsSync(mountpoint, { bigint: true }));
    if (size === undefined) return undefined;
    const { bsize, blocks, files, ffree } = size;
    return {
      device: this.#sourceOf(mountpoint) ?? mountpoint,
      sizeBytes: bsize * blocks,
      inodes: files,
      freeInodes: ffree,
    };
  }

  #sourceOf(mountpoint: string): string | undefined {
    const device = attempt(() => statSync(mountpoint).dev);
    if (device === undefined) return undefined;
    this.#mounts ??= readMounts();
    const { major, minor } = deviceNumbers(device);
    const number = `${major}:${minor}`;
    return this.#mounts.find((mount) => mount.device === number)?.source;
  }
}

/** One pass over the files of a container. What cannot be read is left out. */
export async function readContainerFacts(
  deps: FactsDeps,
  usage: ContainerUsage<CgroupStats>,
  shared: SharedReadings,
): Promise<ContainerFacts> {
  const path = deps.containerCgroup(usage.container);
  const pids = listMembers(deps.host, path);
  const first = processesOf(usage.container)?.process.pid;
  const threads = usage.cgroup.pids?.current ?? countThreads(deps.host, path);
  const fileSystem =
    usage.writableLayer === undefined ? undefined : shared.fileSystem(usage.writableLayer.mountpoint);
  return {
    usage,
    processes: {
      processes: pids.length,
      ...(await readOpenFiles(pids)),
      ...(threads === undefined ? {} : { threads }),
      // The pid of a process that has ended may be another's: only one that is in the cgroup is asked.
      softLimits: readSoftLimits(first !== undefined && pids.includes(first) ? first : pids[0]),
    },
    ...(fileSystem === undefined ? {} : { fileSystem }),
    deviceNames: shared.deviceNames((usage.cgroup.io ?? []).map((io) => `${io.major}:${io.minor}`)),
  };
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
