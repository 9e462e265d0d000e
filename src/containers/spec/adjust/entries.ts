import type { ListChange, MapChange } from './spec-adjustment.ts';

/** A list after a change: an entry that replaces another stands in its place, others are appended. */
export function changedList<T>(list: readonly T[], keyOf: (entry: T) => string, change: ListChange<T>): T[] {
  const removed = new Set(change.remove);
  const replacements = new Map(change.set.map((entry) => [keyOf(entry), entry]));
  const changed = new Map<string, T>();
  const kept: T[] = [];
  for (const entry of list) {
    const key = keyOf(entry);
    const replacement = replacements.get(key);
    if (replacement === undefined && !removed.has(key)) kept.push(entry);
    else if (replacement !== undefined && !changed.has(key)) {
      changed.set(key, replacement);
      kept.push(replacement);
    }
  }
  return [...kept, ...[...replacements].flatMap(([key, entry]) => (changed.has(key) ? [] : [entry]))];
}

export function changedMap<T>(map: Readonly<Record<string, T>>, change: MapChange<T>): Record<string, T> {
  const removed = new Set(change.remove);
  const kept = Object.entries(map).filter(([key]) => !removed.has(key));
  return { ...Object.fromEntries(kept), ...change.set };
}
