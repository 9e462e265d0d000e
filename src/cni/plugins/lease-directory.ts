/**
 * Leases on disk, in the layout of the host-local program, which may work on the same directory: one file an address,
 * named after it, holding `<container id>\r\n<interface>`; `last_reserved_ip.<set>`; and `lock`, held by flock.
 */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
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
const lockPatienceMs = 20_000;

/** The lease directories of this process: takes turns among its own requests before it asks for the file's lock. */
export class LeaseDirectories {
  readonly #turns = new KeyedLock<string>();
  readonly #known = new Map<string, Map<string, string>>();

  /**
   * Runs synchronous work with the directory locked against everybody. The directory is made if `create` is set;
   * without it a directory that is not there is given as undefined.
   * @throws EngineError unavailable when another process keeps the lock
   */
  async locked<T>(
    directory: string,
    mode: 'create' | 'existing',
    work: (leases: Leases | undefined) => T,
  ): Promise<T> {
    return await this.#turns.run(directory, undefined, async () => {
      if (mode === 'create') mkdirSync(directory, { recursive: true, mode: 0o755 });
      const fd = openLock(directory);
      if (fd === undefined) {
        this.#known.delete(directory);
        return work(undefined);
      }
      try {
        await waitForLock(fd, directory);
        return work(new Leases(directory, this.#contentsOf(directory)));
      } finally {
        closeSync(fd);
      }
    });
  }

  #contentsOf(directory: string): Map<string, string> {
    const known = this.#known.get(directory) ?? new Map<string, string>();
    this.#known.set(directory, known);
    return known;
  }
}

/** The leases of one directory while it is locked. */
export class Leases {
  readonly #directory: string;
  readonly #contents: Map<string, string>;
  readonly #taken = new Set<string>();

  /** `remembered` spares reading files that were read before; who owns a lease is always read again before it matters. */
  constructor(directory: string, remembered: Map<string, string>) {
    this.#directory = directory;
    this.#contents = remembered;
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
    return parseIp(this.#read(lastPrefix + setIndex));
  }

  rememberLast(setIndex: number, address: IpAddress): void {
    writeFileSync(join(this.#directory, lastPrefix + setIndex), formatIp(address), { mode: 0o600 });
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

function contentFor(owner: LeaseOwner): string {
  return `${owner.containerId.trim()}\r\n${owner.ifName}`;
}

function keyOf(address: IpAddress): string {
  return `${address.family} ${address.value}`;
}

function openLock(directory: string): number | undefined {
  try {
    return openSync(join(directory, 'lock'), constants.O_RDONLY | constants.O_CREAT, 0o750);
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
