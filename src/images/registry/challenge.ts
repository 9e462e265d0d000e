/** WWW-Authenticate (RFC 9110, 11.6.1): several challenges in one header, quoted or bare parameters. Untrusted. */

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names are lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const maxHeaderLength = 8192;
const maxChallenges = 16;
const maxParameters = 32;

// Each pattern is sticky and starts with a fixed character class, so that reading is linear in the header's length.
const separators = /[\s,]*/y;
const parameter = /([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~\w/:@?=-]+))/y;
const scheme = /([!#$%&'*+.^_`|~\w-]+)(?=[\s,]|$)/y;

/** The challenges that could be read; what follows a syntax error is dropped. */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, maxHeaderLength);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let position = skip(text, 0);
  while (position < text.length && challenges.length <= maxChallenges) {
    const found = matchAt(parameter, text, position);
    const current = challenges.at(-1);
    if (found !== null && current !== undefined) {
      const value = found[2] === undefined ? (found[3] ?? '') : found[2].replaceAll(/\\(.)/g, '$1');
      const name = (found[1] ?? '').toLowerCase();
      if (!current.parameters.has(name) && current.parameters.size < maxParameters) {
        current.parameters.set(name, value);
      }
      position = skip(text, position + found[0].length);
      continue;
    }
    const named = matchAt(scheme, text, position);
    if (named === null) break;
    challenges.push({ scheme: (named[1] ?? '').toLowerCase(), parameters: new Map() });
    position = skip(text, position + named[0].length);
  }
  return challenges.slice(0, maxChallenges);
}

function skip(text: string, position: number): number {
  return position + (matchAt(separators, text, position)?.[0].length ?? 0);
}

function matchAt(pattern: RegExp, text: string, position: number): RegExpExecArray | null {
  pattern.lastIndex = position;
  return pattern.exec(text);
}
