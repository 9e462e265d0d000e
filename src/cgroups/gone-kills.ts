import { existsSync, readdirSync } from 'node:fs';
import { controllerDirectory, type HostCgroups } from './host.ts';
import { readOomKills } from './oom.ts';

/**
 * Kills for want of memory in cgroups that are gone before anybody could read them: systemd removes a scope as soon as it is empty. On cgroup
 * v2 the parent counts what happened below it and keeps the count, so what its present children do not explain was one of
 * those that have gone.
 */
export class GoneCgroupKills {
  readonly #host: HostCgroups;
  readonly #explained = new Map<string, number>();

  constructor(host: HostCgroups) {
    this.#host = host;
  }

  /** Before a cgroup is made below `parent`: kills of its earlier children count no more. Idempotent. */
  watch(parent: string): void {
    for (const path of this.#explained.keys())
      if (!existsSync(this.#directory(path))) this.#explained.delete(path);
    if (!this.#explained.has(parent)) this.#explained.set(parent, this.#ofGoneChildren(parent));
  }

  /** A child whose kills have been read goes now. */
  explain(parent: string, kills: number): void {
    const explained = this.#explained.get(parent);
    if (explained !== undefined) this.#explained.set(parent, explained + kills);
  }

  /** Whether a child has gone with a kill since the last question; asked when one has gone. False for a parent that is not watched. */
  takeNew(parent: string): boolean {
    const explained = this.#explained.get(parent);
    if (explained === undefined) return false;
    const kills = this.#ofGoneChildren(parent);
    this.#explained.set(parent, Math.max(kills, explained));
    return kills > explained;
  }

  #ofGoneChildren(parent: string): number {
    const directory = this.#directory(parent);
    if (!existsSync(directory)) return 0;
    const children = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const present = children.map(({ name }) => readOomKills(this.#host, `${parent}/${name}`) ?? 0);
    return (readOomKills(this.#host, parent) ?? 0) - present.reduce((sum, kills) => sum + kills, 0);
  }

  #directory(path: string): string {
    return controllerDirectory(this.#host, 'memory', path) ?? '';
  }
}
