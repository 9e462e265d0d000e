import { removalOf, type KeyedField, type Owners } from './owners.ts';

/** A list whose entries have keys: mounts, devices, variables. A key with the mark of removal asks that the entry go. */
interface KeyedList<T> {
  readonly field: KeyedField;
  readonly keyOf: (entry: T) => string;
}

interface MergedList<T> {
  /** What has been asked for so far: removals, and entries to add or to put in the place of others. */
  readonly asked: T[];
  /** The container's own entries as the next plugin sees them. */
  readonly seen: T[];
}

/**
 * Lays one plugin's entries over a list. A removal comes before an addition, whichever the plugin said first.
 *
 * @throws EngineError failed-precondition when another plugin has set the same entry
 */
export function mergeList<T>(
  { field, keyOf }: KeyedList<T>,
  list: MergedList<T>,
  entries: readonly T[],
  { owners, plugin }: { readonly owners: Owners; readonly plugin: string },
): MergedList<T> {
  const removals = entries.filter((entry) => removalOf(keyOf(entry)) !== undefined);
  const additions = entries.filter((entry) => removalOf(keyOf(entry)) === undefined);
  const removed = new Set(removals.map((entry) => removalOf(keyOf(entry)) ?? ''));
  for (const key of removed) owners.clearEntry(field, key, plugin);
  for (const entry of additions) owners.claimEntry(field, keyOf(entry), plugin);
  const added = new Set(additions.map(keyOf));
  const stays = (entry: T): boolean => !removed.has(keyOf(entry)) && !added.has(keyOf(entry));
  const isNews = (entry: T): boolean => !list.asked.some((known) => keyOf(known) === keyOf(entry));
  return {
    asked: [...list.asked.filter(stays), ...removals.filter(isNews), ...additions],
    seen: [...list.seen.filter(stays), ...additions],
  };
}

/** The same for entries in a map. */
export function mergeMap<T>(
  field: KeyedField,
  map: { readonly asked: Record<string, T>; readonly seen: Record<string, T> },
  entries: Readonly<Record<string, T>>,
  claimant: { readonly owners: Owners; readonly plugin: string },
): { readonly asked: Record<string, T>; readonly seen: Record<string, T> } {
  const { asked, seen } = mergeList<[string, T]>(
    { field, keyOf: ([key]) => key },
    { asked: Object.entries(map.asked), seen: Object.entries(map.seen) },
    Object.entries(entries),
    claimant,
  );
  return { asked: Object.fromEntries(asked), seen: Object.fromEntries(seen) };
}
