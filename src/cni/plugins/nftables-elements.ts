/** Elements of nftables sets and maps that belong to attachments, found again by their comment. */
import { z } from 'zod';
import { listNftables, type NftablesFamily } from '../../linux/nftables.ts';

/** An element with its comment. `value` is nft's own JSON for the key, `data` that of a map's value. */
export interface OwnedElement {
  readonly set: string;
  readonly value: unknown;
  readonly data?: unknown;
  readonly comment: string;
}

const elementSchema = z.object({ elem: z.object({ val: z.unknown(), comment: z.string().default('') }) });
const setSchema = z.object({ name: z.string(), elem: z.array(z.unknown()).default([]) });
const objectSchema = z.object({ set: setSchema.optional(), map: setSchema.optional() });

/** All elements of a table that have a comment; undefined when there is no such table. */
export async function listOwnedElements(
  family: NftablesFamily,
  table: string,
): Promise<OwnedElement[] | undefined> {
  const objects = await listNftables(family, table);
  return objects?.flatMap((object) => {
    const { set, map } = objectSchema.parse(object);
    return [...elementsOf(set, false), ...elementsOf(map, true)];
  });
}

/** The command that makes the element, and fails when its key is there. */
export function createElement(family: NftablesFamily, table: string, element: OwnedElement): object {
  return { create: { element: described(family, table, element) } };
}

/** The command that deletes the element. */
export function deleteElement(family: NftablesFamily, table: string, element: OwnedElement): object {
  return { delete: { element: described(family, table, element) } };
}

function described(
  family: NftablesFamily,
  table: string,
  { set, value, data, comment }: OwnedElement,
): object {
  const key = { elem: { val: value, comment } };
  return { family, table, name: set, elem: [data === undefined ? key : [key, data]] };
}

function elementsOf(set: z.output<typeof setSchema> | undefined, isMap: boolean): OwnedElement[] {
  return (set?.elem ?? []).flatMap((entry) => {
    const [key, data] = isMap && Array.isArray(entry) ? (entry as unknown[]) : [entry];
    const parsed = elementSchema.safeParse(key);
    if (!parsed.success || set === undefined) return [];
    const { val, comment } = parsed.data.elem;
    return [{ set: set.name, value: val, comment, ...(isMap ? { data } : {}) }];
  });
}
