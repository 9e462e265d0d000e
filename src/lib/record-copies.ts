/**
 * A copy of every row as a file, on a file system that does not share the database's fate. When the database is found
 * corrupt it is rebuilt from them. They help as long as that file system lives: below /run, until the node restarts.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from './errors.ts';

const suffix = '.json';
const unfinished = '.new';

/** The copies of one collection. */
export class RecordCopies {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Ids and texts of all copies. Nothing if there is no directory. */
  read(): [id: string, text: string][] {
    return this.#names().map((name) => [
      decodeURIComponent(name.slice(0, -suffix.length)),
      readFileSync(join(this.#directory, name), 'utf8'),
    ]);
  }

  /** Makes the copies what these rows are. */
  replaceAll(rows: ReadonlyMap<string, string>): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const wanted = new Set([...rows.keys()].map(nameOf));
    for (const name of this.#names())
      if (!wanted.has(name)) rmSync(join(this.#directory, name), { force: true });
    for (const [id, text] of rows) this.put(id, text);
  }

  /** Best effort: a copy that could not be written is taken away, for an old one would be believed. */
  put(id: string, text: string): void {
    const path = join(this.#directory, nameOf(id));
    try {
      writeFileSync(path + unfinished, text, { mode: 0o600 });
      renameSync(path + unfinished, path);
    } catch {
      rmSync(path + unfinished, { force: true });
      rmSync(path, { force: true });
    }
  }

  delete(id: string): void {
    rmSync(join(this.#directory, nameOf(id)), { force: true });
  }

  #names(): string[] {
    try {
      return readdirSync(this.#directory).filter((name) => name.endsWith(suffix));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    }
  }
}

function nameOf(id: string): string {
  return encodeURIComponent(id) + suffix;
}
