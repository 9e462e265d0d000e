/**
 * Leases on disk, in the layout of the host-local program, which may work on the same directory: one file an address,
 * named after it, holding `<container id>\r\n<interface>`; `last_reserved_ip.<set>`; and `lock`, held by flock. A
 * directory that was made here says so in its lock, which is empty otherwise, and goes with its last lease.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EngineError, errnoOf } from '../../lib/errors.ts';
import { formatIp, parseIp, type IpAddress } from '../../lib/ip-address.ts';
import { KeyedLock } from '../../lib/keyed-lock.ts';
import { tryLockFile } from '../../linux/file-lock.ts';

/** Who holds a lease. */
export interface LeaseOwner {
  readonly containerId: string;
  readonly ifName: string;
}

const lastPrefix = 'last_reserved_ip.';
const lockName = 'lock';
/** In the lock of a directory that was made here; host-local's program never reads it. */
const ourMark = 'gantry\n';
const lockPatienceMs = 20_000;

/** The lease directories of this process: takes turns among its own requests before it asks for the file's lock. */
export class LeaseDirectories {
  readonly #turns = new KeyedLock<string>();
  readonly #known = new Map<string, Map<string, string>>();
  /** By directory and file name: an address rests also when its directory was taken away in between. */
  readonly #rested = new Map<string, Map<string, string>>();

  /**
   * Runs synchronous work with the directory locked against everybody. A directory that is not there is made (`create`), or given
   * as undefined (`existing`).
   * @throws EngineError unavailable when another process keeps the lock
   */
  async locked<T>(
    directory: string,
    mode: 'create' | 'existing',
    work: (leases: Leases | undefined) => T,
  ): Promise<T> {
    return await this.#turns.run(directory, undefined, async () => {
      for (;;) {
        const fd = openLock(directory, mode);
        if (fd === undefined) {
          this.#known.delete(directory);
          return work(undefined);
        }
        try {
          await waitForLock(fd, directory);
          // Whoever held it took the directory away: this lock keeps nobody out any more.
          if (fstatSync(fd).nlink === 0) continue;
          return work(new Leases(directory, mapOf(this.#known, directory), mapOf(this.#rested, directory)));
        } finally {
          closeSync(fd);
        }
      }
    });
  }
}

/** True for a lease directory that was not there before one of our ADDs needed it. */
export function isDirectoryMadeHere(directory: string): boolean {
  try {
    return readFileSync(join(directory, lockName), 'utf8') === ourMark;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** The leases of one directory while it is locked. */
export class Leases {
  readonly #directory: string;
  readonly #contents: Map<string, string>;
  readonly #rested: Map<string, string>;
  readonly #taken = new Set<string>();

  /** `remembered` spares reading files that were read before; who owns a lease is always read again before it matters. */
  constructor(directory: string, remembered: Map<string, string>, rested: Map<string, string>) {
    this.#directory = directory;
    this.#contents = remembered;
    this.#rested = rested;
    const names = new Set(readdirSync(directory));
    for (const name of remembered.keys()) if (!names.has(name)) remembered.delete(name);
    for (const name of names) {
      const address = parseIp(name);
      if (address === undefined) continue;
      this.#taken.add(keyOf(address));
      if (!remembered.has(name)) remembered.set(name, this.#read(name));
      // Nobody writes while we hold the lock: an empty lease is what a power loss or a full disk left of one.
      if (remembered.get(name) === '') this.#dropEmpty(name, address);
    }
  }

  isTaken(address: IpAddress): boolean {
    return this.#taken.has(keyOf(address));
  }

  /** False when the address is taken. On any error nothing is left behind. */
  reserve(address: IpAddress, owner: LeaseOwner): boolean {
    const name = formatIp(address);
    const path = join(this.#directory, name);
    const content = contentFor(owner);
    let fd: number;
    try {
      fd = openSync(path, 'wx', 0o600);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false;
      throw error;
    }
    try {
      writeFileSync(fd, content);
    } catch (error) {
      closeSync(fd);
      unlinkSync(path);
      throw error;
    }
    closeSync(fd);
    this.#contents.set(name, content);
    this.#taken.add(keyOf(address));
    return true;
  }

  /** Gives one lease back; it may be gone already. */
  release(address: IpAddress): void {
    this.#remove(formatIp(address));
    this.#taken.delete(keyOf(address));
  }

  /** The leases of an owner, also those in the old form that has the container's id alone. */
  ownedBy(owner: LeaseOwner): IpAddress[] {
    const exact = this.#holding(contentFor(owner));
    return exact.length > 0 ? exact : this.#holding(owner.containerId.trim());
  }

  /** Every lease with its owner; `ifName` is empty in the old form. */
  all(): { readonly address: IpAddress; readonly owner: LeaseOwner }[] {
    return [...this.#contents].flatMap(([name]) => {
      const address = parseIp(name);
      const [containerId = '', ifName = ''] = this.#read(name).split('\r\n');
      return address === undefined ? [] : [{ address, owner: { containerId, ifName } }];
    });
  }

  /** Undefined when there is none, or what is there cannot be read. */
  lastReserved(setIndex: number): IpAddress | undefined {
    const name = lastPrefix + setIndex;
    return parseIp(this.#read(name)) ?? parseIp(this.#rested.get(name) ?? '');
  }

  rememberLast(setIndex: number, address: IpAddress): void {
    const name = lastPrefix + setIndex;
    overwrite(join(this.#directory, name), formatIp(address));
    this.#rested.delete(name);
  }

  /**
   * Takes the directory away when it holds no lease, nor anything that is not of its layout; with `ours` only one that
   * was made here. Nothing may be done with these leases afterwards.
   */
  discardIfUnused(whose: 'ours' | 'anybodys'): void {
    const names = readdirSync(this.#directory);
    const isOurs = whose === 'anybodys' || isDirectoryMadeHere(this.#directory);
    const last = names.filter((name) => name.startsWith(lastPrefix));
    if (!isOurs || this.#taken.size > 0 || names.length > last.length + 1) return;
    for (const name of last) {
      this.#rested.set(name, this.#read(name));
      this.#remove(name);
    }
    // Those who wait for the lock find that it has no name any more.
    this.#remove(lockName);
    try {
      rmdirSync(this.#directory);
    } catch (error) {
      // Another process has just begun to use it.
      if (errnoOf(error) !== 'ENOTEMPTY') throw error;
    }
  }

  #holding(content: string): IpAddress[] {
    const addresses: IpAddress[] = [];
    for (const [name, remembered] of this.#contents) {
      const address = parseIp(name);
      // Another process may have given the address to somebody else since it was read.
      if (address !== undefined && remembered === content && this.#read(name) === content) {
        addresses.push(address);
      }
    }
    return addresses;
  }

  #dropEmpty(name: string, address: IpAddress): void {
    if (this.#read(name) !== '') return;
    this.#remove(name);
    this.#taken.delete(keyOf(address));
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.#directory, name), 'utf8').trim();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return '';
      throw error;
    }
  }

  #remove(name: string): void {
    try {
      unlinkSync(join(this.#directory, name));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    this.#contents.delete(name);
  }
}

/**
 * For a file whose content nothing depends on: a crash may leave a mixture. One that is emptied first is written to the disk as soon as
 * it is closed, and the next time waits for the disk.
 */
function overwrite(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    const length = writeSync(fd, text, 0);
    if (fstatSync(fd).size > length) ftruncateSync(fd, length);
  } finally {
    closeSync(fd);
  }
}

function contentFor(owner: LeaseOwner): string {
  return `${owner.containerId.trim()}\r\n${owner.ifName}`;
}

function keyOf(address: IpAddress): string {
  return `${address.family} ${address.value}`;
}

function mapOf(maps: Map<string, Map<string, string>>, key: string): Map<string, string> {
  const map = maps.get(key) ?? new Map<string, string>();
  maps.set(key, map);
  return map;
}

function openLock(directory: string, mode: 'create' | 'existing'): number | undefined {
  const path = join(directory, lockName);
  const isMade = mode === 'create' && mkdirSync(directory, { recursive: true, mode: 0o755 }) !== undefined;
  try {
    if (isMade) writeFileSync(path, ourMark, { mode: 0o750 });
    return openSync(path, constants.O_RDONLY | constants.O_CREAT, 0o750);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Polls, because a lock that another process holds would block this whole process; it is held for a millisecond. */
async function waitForLock(fd: number, directory: string): Promise<void> {
  const deadline = performance.now() + lockPatienceMs;
  for (let pauseMs = 1; !tryLockFile(fd); pauseMs = Math.min(pauseMs * 2, 25)) {
    if (performance.now() > deadline) {
      throw new EngineError(
        'unavailable',
        `another process has held the lock of ${directory} for ${lockPatienceMs} ms`,
      );
    }
    await delay(pauseMs);
  }
}
