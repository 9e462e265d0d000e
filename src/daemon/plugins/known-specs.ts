import { readFile } from 'node:fs/promises';
import { containerPaths, type Container } from '../../containers/container.ts';
import type { ContainerId } from '../../lib/ids.ts';
import type { Spec } from '../../oci/spec-types.ts';

/**
 * The specs of containers while there are plugins to be shown them: as they were written, kept because they are gone from the
 * disk when the last event of a container is told.
 */
export class KnownSpecs {
  readonly #stateDirectory: string;
  readonly #specs = new Map<ContainerId, Spec>();

  constructor(stateDirectory: string) {
    this.#stateDirectory = stateDirectory;
  }

  keep(id: ContainerId, spec: Spec): void {
    this.#specs.set(id, spec);
  }

  forget(id: ContainerId): void {
    this.#specs.delete(id);
  }

  clear(): void {
    this.#specs.clear();
  }

  /** Undefined where it is no longer to be had. */
  async of({ id }: Container): Promise<Spec | undefined> {
    const known = this.#specs.get(id);
    if (known !== undefined) return known;
    const { bundle } = containerPaths(this.#stateDirectory, id);
    try {
      const spec = JSON.parse(await readFile(`${bundle}/config.json`, 'utf8')) as Spec;
      this.#specs.set(id, spec);
      return spec;
    } catch {
      return undefined;
    }
  }
}
