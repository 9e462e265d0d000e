/**
 * File names are bytes, JSON has characters. A name that is UTF-8 is written as what it says; each byte of another that belongs to no
 * character becomes U+DC80 to U+DCFF, which no UTF-8 holds, so that the same bytes come back. Engines that do not know this see
 * replacement characters, as they would write them themselves.
 * https://peps.python.org/pep-0383/
 */
const escapedZero = 0xdc00;
const longestCharacter = 4;

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `name` has one character a byte (latin1). */
export function textOfName(name: string): string {
  const bytes = Buffer.from(name, 'latin1');
  const whole = decode(bytes);
  if (whole !== undefined) return whole;
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const character = characterAt(bytes, at);
    text += character ?? String.fromCharCode(escapedZero + (bytes[at] ?? 0));
    at += character === undefined ? 1 : Buffer.byteLength(character);
  }
  return text;
}

/** The bytes, one character each (latin1); undefined if `text` stands for no name. */
export function nameOfText(text: string): string | undefined {
  if (text.isWellFormed()) return Buffer.from(text).toString('latin1');
  let name = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0xd800 || code > 0xdfff) name += Buffer.from(character).toString('latin1');
    else if (code >= escapedZero + 0x80 && code <= escapedZero + 0xff)
      name += String.fromCharCode(code - escapedZero);
    // Below: a character that no UTF-8 has, or a byte that would have been one by itself, such as a slash.
    else return undefined;
  }
  return name;
}

function characterAt(bytes: Buffer, at: number): string | undefined {
  for (let length = 1; length <= longestCharacter; length += 1) {
    const character = decode(bytes.subarray(at, at + length));
    if (character !== undefined) return character;
  }
  return undefined;
}

function decode(bytes: Buffer): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}
