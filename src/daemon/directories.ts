/** The daemon's own directories, with the modes that keep the node's users out of them. */
import { chmodSync, mkdirSync } from 'node:fs';
import type { Config } from '../config-schema.ts';

export interface Directories {
  readonly root: string;
  readonly state: string;
  readonly database: string;
  /** Copies of the database's rows, on another file system. */
  readonly records: string;
  readonly images: string;
  readonly snapshots: string;
  readonly runtimes: string;
  readonly exits: string;
  /** Short: the path of a socket in it must fit into 107 bytes. */
  readonly sockets: string;
}

/** Makes them. CVE-2021-41103, CVE-2024-25621: a data directory that others may enter shows them setuid files of images. */
export function makeDirectories({ root, state }: Config): Directories {
  const directories = {
    root,
    state,
    database: `${root}/state.db`,
    records: `${state}/records`,
    images: `${root}/images`,
    snapshots: `${root}/overlay`,
    runtimes: `${state}/runtime`,
    exits: `${state}/exits`,
    sockets: `${state}/s`,
  };
  make(root, 0o700);
  make(state, 0o711);
  for (const own of [
    directories.images,
    directories.snapshots,
    directories.runtimes,
    directories.exits,
    directories.records,
    directories.sockets,
    `${state}/containers`,
  ])
    make(own, 0o700);
  // Entered by container processes of any user on the way to their /etc/hosts and /dev/shm, and by the roots of pods with a
  // user namespace on the way to what is bound for them, each into its own directory only.
  for (const entered of ['sandboxes', 'mounts']) make(`${state}/${entered}`, 0o711);
  return directories;
}

function make(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
  chmodSync(path, mode);
}
