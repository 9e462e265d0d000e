/**
 * Durable records: one small JSON document per object, read from memory, written through to `node:sqlite` (WAL).
 * A row is written before the kernel object that it owns is made, so that a crash leaves a record that recovery
 * can finish or undo, never an orphan that nothing names.
 */
import { existsSync, renameSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { join } from 'node:path';
import { DiskReserve } from './disk-reserve.ts';
import { EngineError, messageOf } from './errors.ts';
import { RecordCopies } from './record-copies.ts';

/** What every record carries: the version of its shape. */
export interface Versioned {
  readonly version: number;
}

/** A row that could not be read: it is kept on disk, told to the operator by name, and never guessed at. */
export interface RejectedRecord {
  readonly collection: string;
  readonly id: string;
  readonly reason: string;
}

export interface RecordDatabaseOptions {
  readonly nowMs?: number;
  /** Where every row has a copy, from which a corrupt database is rebuilt. Left out: there are no copies. */
  readonly copies?: string;
  /**
   * Space kept beside the database, so that on a full disk records still change and go (what runs can be stopped and removed);
   * new ones are refused until it is there again. Left out: none.
   */
  readonly reserveBytes?: number;
}

/** Where the rows lie beside the database. */
interface Surroundings {
  readonly copies: string | undefined;
  readonly reserve: DiskReserve | undefined;
}

export class RecordDatabase implements Disposable {
  readonly #database: DatabaseSync;
  readonly #surroundings: Surroundings;
  /** Where a corrupt file was moved to at open, if it was. */
  readonly setAside: string | undefined;
  readonly rejected: RejectedRecord[] = [];

  private constructor(database: DatabaseSync, surroundings: Surroundings, setAside: string | undefined) {
    this.#database = database;
    this.#surroundings = surroundings;
    this.setAside = setAside;
  }

  /** Opens or makes the database. A corrupt file is moved aside (`<path>.corrupt-<ms>`), not deleted and not fatal. */
  static open(path: string, options: RecordDatabaseOptions = {}): RecordDatabase {
    const { copies, reserveBytes, nowMs = Date.now() } = options;
    const reserve = reserveBytes === undefined ? undefined : new DiskReserve(`${path}.reserve`, reserveBytes);
    reserve?.hold();
    try {
      return new RecordDatabase(
        onFullDisk(reserve, () => openChecked(path)),
        { copies, reserve },
        undefined,
      );
    } catch (error) {
      if (!isCorrupt(error) || !existsSync(path)) {
        throw new EngineError('internal', `open the state database ${path}: ${messageOf(error)}`, {
          cause: error,
        });
      }
      const aside = `${path}.corrupt-${nowMs}`;
      renameSync(path, aside);
      for (const suffix of ['-wal', '-shm']) {
        if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
      }
      return new RecordDatabase(openChecked(path), { copies, reserve }, aside);
    }
  }

  /**
   * Loads a collection. `currentVersion` is the only version accepted; rows of others, and rows that are not
   * JSON objects, go to `rejected` and stay on disk for the release that can read them.
   *
   * What was written survives a crash of the daemon; with `survivesPowerLoss` one of the machine too, for a sync a write.
   */
  collection<K extends string, T extends Versioned>(
    name: string,
    currentVersion: number,
    options: { readonly survivesPowerLoss?: boolean } = {},
  ): RecordCollection<K, T> {
    if (!/^[a-z_]+$/.test(name)) throw new EngineError('internal', `collection name ${name}`);
    this.#database.exec(
      `CREATE TABLE IF NOT EXISTS ${name} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID`,
    );
    const put = this.#database.prepare(
      `INSERT INTO ${name} (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record`,
    );
    const { copies: directory, reserve } = this.#surroundings;
    const copies = directory === undefined ? undefined : new RecordCopies(join(directory, name));
    if (this.setAside !== undefined) for (const [id, text] of copies?.read() ?? []) put.run(id, text);
    const rows = this.#rows(name);
    copies?.replaceAll(rows);
    const loaded = new Map<K, T>();
    for (const [id, text] of rows) {
      try {
        loaded.set(id as K, readRecord<T>(text, currentVersion));
      } catch (error) {
        this.rejected.push({ collection: name, id, reason: messageOf(error) });
      }
    }
    return new RecordCollection<K, T>(loaded, {
      put,
      copies,
      reserve,
      delete: this.#database.prepare(`DELETE FROM ${name} WHERE id = ?`),
      setSynchronous: (mode) =>
        options.survivesPowerLoss === true && this.#database.exec(`PRAGMA synchronous = ${mode}`),
    });
  }

  #rows(name: string): Map<string, string> {
    const rows = this.#database.prepare(`SELECT id, record FROM ${name}`).iterate();
    return new Map(rows.map((row) => [String(row['id']), String(row['record'])]));
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

interface CollectionStatements {
  readonly put: StatementSync;
  readonly copies: RecordCopies | undefined;
  readonly reserve: DiskReserve | undefined;
  readonly delete: StatementSync;
  /** How far the next writes go before they return; nothing where the collection does not ask for more. */
  readonly setSynchronous: (mode: 'FULL' | 'NORMAL') => void;
}

export class RecordCollection<K extends string, T extends Versioned> {
  readonly #records: Map<K, T>;
  readonly #statements: CollectionStatements;

  constructor(records: Map<K, T>, statements: CollectionStatements) {
    this.#records = records;
    this.#statements = statements;
  }

  get(id: K): T | undefined {
    return this.#records.get(id);
  }

  values(): Iterable<T> {
    return this.#records.values();
  }

  entries(): Iterable<[K, T]> {
    return this.#records.entries();
  }

  get size(): number {
    return this.#records.size;
  }

  /** Durable when it returns; the memory is changed only if the disk took it (a full disk leaves both as they were). */
  put(id: K, record: T): void {
    const text = JSON.stringify(record);
    const { reserve, put, setSynchronous } = this.#statements;
    const isNew = !this.#records.has(id);
    if (isNew && reserve?.hold() === false)
      throw new EngineError('resource-exhausted', `write the record of ${id}: the disk is full`);
    try {
      setSynchronous('FULL');
      if (isNew) put.run(id, text);
      else onFullDisk(reserve, () => void put.run(id, text));
    } catch (error) {
      throw writeError('write', id, error);
    } finally {
      setSynchronous('NORMAL');
    }
    this.#statements.copies?.put(id, text);
    this.#records.set(id, record);
  }

  delete(id: K): void {
    if (!this.#records.has(id)) return;
    try {
      onFullDisk(this.#statements.reserve, () => void this.#statements.delete.run(id));
    } catch (error) {
      throw writeError('delete', id, error);
    }
    this.#statements.copies?.delete(id);
    this.#records.delete(id);
  }
}

/** Gives up the reserve for work that would fail without it. */
function onFullDisk<R>(reserve: DiskReserve | undefined, work: () => R): R {
  try {
    return work();
  } catch (error) {
    if (!noSpaceCodes.has(sqliteCode(error) ?? 0) || reserve?.release() !== true) throw error;
    return work();
  }
}

function openChecked(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
    const verdict = database.prepare('PRAGMA quick_check(1)').get();
    if (verdict?.['quick_check'] !== 'ok')
      throw new Error(`file is not a database: ${String(verdict?.['quick_check'])}`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
const SQLITE_FULL = 13;
const SQLITE_IOERR = 10;
const SQLITE_CANTOPEN = 14;
/** What a full disk is to SQLite: it may also be unable to make or to grow the files beside the database. */
const noSpaceCodes: ReadonlySet<number> = new Set([SQLITE_FULL, SQLITE_IOERR, SQLITE_CANTOPEN]);

function sqliteCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

function isCorrupt(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB || messageOf(error).includes('not a database');
}

function writeError(verb: string, id: string, error: unknown): EngineError {
  const kind = sqliteCode(error) === SQLITE_FULL ? 'resource-exhausted' : 'internal';
  return new EngineError(kind, `${verb} the record of ${id}: ${messageOf(error)}`, { cause: error });
}

function readRecord<T extends Versioned>(text: string, currentVersion: number): T {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || !('version' in value)) throw new Error('not a record');
  if (value.version !== currentVersion) {
    throw new Error(`record version ${String(value.version)}, this release reads version ${currentVersion}`);
  }
  return value as T;
}
