/** What `--json` prints. */

/** Pretty JSON. A bigint becomes a number where a number holds it exactly, else a decimal string; a Buffer becomes text. */
export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, replaceValue, 2)}\n`;
}

/** The same on one line, for streams of objects. */
export function formatJsonLine(value: unknown): string {
  return `${JSON.stringify(value, replaceValue)}\n`;
}

/** The CRI's `info`: a map whose values are JSON documents, which become part of the document. */
export function parseInfo(info: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(info).map(([key, text]) => [key, parseOrKeep(text)]));
}

function parseOrKeep(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function replaceValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value.toString();
  }
  return isBufferJson(value) ? Buffer.from(value.data).toString('utf8') : value;
}

/** `JSON.stringify` calls a Buffer's toJSON before it calls the replacer. */
function isBufferJson(value: unknown): value is { readonly data: number[] } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'type' in value &&
    value.type === 'Buffer' &&
    'data' in value &&
    Array.isArray(value.data)
  );
}
