import { EngineError } from './errors.ts';
import { EventSource } from './events.ts';
import { findByIdPrefix } from './id-prefix.ts';
import { quote } from './ids.ts';
import { KeyedLock } from './keyed-lock.ts';
import type { RecordCollection, Versioned } from './records.ts';

/** What the store must know of an object: who it is, and whether it is still being made. */
export interface Named<K extends string> extends Versioned {
  readonly id: K;
  /** Unix time in nanoseconds, decimal. */
  readonly createdAtNs: string;
  readonly state: { readonly name: string };
}

/**
 * Durable objects with an id, a unique name and a lifecycle. An object in state `creating` holds its name and its
 * record (so that recovery can undo it) but is not listed.
 */
export class NamedStore<K extends string, T extends Named<K>, E> {
  /** Orders all work on one object. */
  readonly locks = new KeyedLock<K>();
  /** Orders requests for one name: a retry waits until the first attempt has been made or undone. */
  readonly nameLocks = new KeyedLock<string>();
  readonly events: EventSource<E>;
  readonly #records: RecordCollection<K, T>;
  readonly #nameOf: (object: T) => string;
  readonly #what: string;
  readonly #idByName = new Map<string, K>();

  /** `what` names the kind of object in messages: "container". */
  constructor(options: {
    readonly what: string;
    readonly records: RecordCollection<K, T>;
    readonly nameOf: (object: T) => string;
    readonly onListenerError: (error: unknown) => void;
  }) {
    this.#records = options.records;
    this.#nameOf = options.nameOf;
    this.#what = options.what;
    this.events = new EventSource<E>(options.onListenerError);
    for (const object of this.#records.values()) this.#idByName.set(this.#nameOf(object), object.id);
  }

  get(id: K): T | undefined {
    return this.#records.get(id);
  }

  /** Finds a listed object by its id or a unique prefix of it. */
  find(text: string): T | undefined {
    const object = findByIdPrefix(this.#records.entries(), (id: K) => this.#records.get(id), text);
    return object?.state.name === 'creating' ? undefined : object;
  }

  /** @throws EngineError not-found */
  mustFind(text: string): T {
    const object = this.find(text);
    if (object === undefined)
      throw new EngineError('not-found', `${this.#what} ${quote(text)} does not exist`);
    return object;
  }

  byName(name: string): T | undefined {
    const id = this.#idByName.get(name);
    return id === undefined ? undefined : this.#records.get(id);
  }

  /** What faces show: everything but objects that are still being made, oldest first (also after a restart). */
  listed(): T[] {
    return this.all()
      .filter((object) => object.state.name !== 'creating')
      .toSorted((one, other) => compare(one.createdAtNs, other.createdAtNs) || compare(one.id, other.id));
  }

  all(): T[] {
    return [...this.#records.values()];
  }

  /** Writes a new record and takes its name. The caller holds the name's lock and has seen that it is free. */
  add(object: T): void {
    this.#records.put(object.id, object);
    this.#idByName.set(this.#nameOf(object), object.id);
  }

  /** The one place where an object changes: the record is written, then seen. */
  update(id: K, change: (old: T) => T): T {
    const old = this.#records.get(id);
    if (old === undefined) throw new EngineError('not-found', `${this.#what} ${id} does not exist`);
    const changed = change(old);
    this.#records.put(id, changed);
    return changed;
  }

  /** Forgets the object and frees its name. No error if it is gone already. */
  delete(id: K): void {
    const object = this.#records.get(id);
    if (object === undefined) return;
    this.#records.delete(id);
    const name = this.#nameOf(object);
    if (this.#idByName.get(name) === id) this.#idByName.delete(name);
  }
}

/** Of decimal numbers with as many digits, and of ids. */
function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
