/** JSON of somebody who is not trusted: counted before it is read, because what reads it does nothing else meanwhile. */
import { EngineError, messageOf } from './errors.ts';

/** An index of every platform there is has some thousands. Millions take the daemon seconds, and fit into a few kilobytes of gzip. */
export const maxJsonMarks = 50_000;
/** Real documents are ten deep at most. */
export const maxJsonDepth = 64;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/**
 * Reads JSON of at most `maxJsonMarks` opening brackets and commas, which bounds its values, and of at most `maxJsonDepth` levels. How many bytes it may have is the caller's to bound, and so is
 * what may stand in it.
 * @throws EngineError data-loss that ends the sentence "it is": `not JSON: ...`, `of 2600000 brackets and commas, more than 50000`
 */
export function parseUntrustedJson(bytes: Uint8Array): unknown {
  checkStructure(bytes);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new EngineError('data-loss', `not JSON: ${messageOf(error)}`, { cause: error });
  }
}

/** In text that is not JSON it may miscount only behind the place at which the parser gives up. */
function checkStructure(bytes: Uint8Array): void {
  let marks = 0;
  let depth = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === quote) at = endOfText(bytes, at);
    else if (byte === comma) marks += 1;
    else if (byte === openBrace || byte === openBracket) {
      marks += 1;
      depth += 1;
      if (depth > maxJsonDepth)
        throw new EngineError('data-loss', `nested deeper than ${maxJsonDepth} levels`);
    } else if (byte === closeBrace || byte === closeBracket) depth -= 1;
  }
  if (marks > maxJsonMarks)
    throw new EngineError('data-loss', `of ${marks} brackets and commas, more than ${maxJsonMarks}`);
}

/** Where the text ends that begins at `start`. Bytes of other characters than ASCII are never those of a quote. */
function endOfText(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
  return at;
}
