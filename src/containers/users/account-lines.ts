import { isId } from './parse-user.ts';

// CVE-2026-47262: the files come from an image, and must cost no more than a real one does.
const maxLineLength = 64 * 1024;
const maxLines = 64 * 1024;

/** A file with more bytes than this is not read at all. */
export const maxAccountFileBytes = 4 * 1024 * 1024;

/** The colon-separated fields of each line of /etc/passwd or /etc/group; comments and absurdly long lines are passed over. */
export function* accountLines(text: string): Generator<readonly string[]> {
  let start = 0;
  for (let count = 0; count < maxLines && start < text.length; count += 1) {
    const end = text.indexOf('\n', start);
    const stop = end === -1 ? text.length : end;
    const isUsable = stop > start && stop - start <= maxLineLength && text[start] !== '#';
    if (isUsable) yield text.slice(start, stop).split(':');
    start = stop + 1;
  }
}

/** An id field, or undefined when it is not a plain number in range. */
export function parseIdField(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return isId(id) ? id : undefined;
}
