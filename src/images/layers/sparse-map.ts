/** Sparse files in tar: where the stored data of an entry belongs in the file. */
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';

/** A run of stored bytes and its place in the file. */
export interface SparseRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Checks a map against the file that it describes: ranges in order, apart, inside the file, and together as long as
 * what is stored.
 * @throws EngineError invalid-argument
 */
export function checkSparseMap(
  ranges: readonly SparseRange[],
  realSize: number,
  storedBytes: number,
): readonly SparseRange[] {
  let end = 0;
  let total = 0;
  for (const { offset, length } of ranges) {
    if (offset < end || offset + length > realSize) throw badMap('a range overlaps or leaves the file');
    end = offset + length;
    total += length;
  }
  if (total !== storedBytes) throw badMap(`it describes ${total} bytes, ${storedBytes} are stored`);
  return ranges.filter((range) => range.length > 0);
}

/** The GNU 0.0 and 0.1 forms: a list of offsets and lengths by turns. */
export function parseSparseList(numbers: readonly string[], maxRanges: number): SparseRange[] {
  if (numbers.length % 2 !== 0) throw badMap('a length is missing');
  if (numbers.length / 2 > maxRanges) throw tooManyRanges(maxRanges);
  const ranges: SparseRange[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    ranges.push({ offset: parseSize(numbers[index] ?? ''), length: parseSize(numbers[index + 1] ?? '') });
  }
  return ranges;
}

/**
 * The PAX 1.0 form: decimal lines at the head of the data, padded to a block: the count, then offset and length
 * of each range. Fed with blocks until it has them all; it keeps nothing but numbers, and no more than the count
 * that it accepted (CVE-2025-58183: a map without a bound is memory without a bound).
 */
export class SparseMapReader {
  readonly #maxRanges: number;
  readonly #numbers: number[] = [];
  #count: number | undefined;
  #pending = '';

  constructor(maxRanges: number) {
    this.#maxRanges = maxRanges;
  }

  /** Takes one block. Gives the ranges when the map is complete; the rest of that block is padding. */
  push(block: Buffer): SparseRange[] | undefined {
    const lines = (this.#pending + block.toString('latin1')).split('\n');
    this.#pending = lines.pop() ?? '';
    for (const line of lines) {
      this.#take(parseSize(line));
      if (this.#isComplete()) return this.#ranges();
    }
    if (this.#pending.length > 20) throw badMap('a number without an end');
    return undefined;
  }

  #take(value: number): void {
    if (this.#count !== undefined) {
      this.#numbers.push(value);
      return;
    }
    if (value > this.#maxRanges) throw tooManyRanges(this.#maxRanges);
    this.#count = value;
  }

  #isComplete(): boolean {
    return this.#count !== undefined && this.#numbers.length === 2 * this.#count;
  }

  #ranges(): SparseRange[] {
    const ranges: SparseRange[] = [];
    for (let index = 0; index < this.#numbers.length; index += 2) {
      ranges.push({ offset: this.#numbers[index] ?? 0, length: this.#numbers[index + 1] ?? 0 });
    }
    return ranges;
  }
}

/** Too many ranges, whatever the dialect. */
export function tooManyRanges(maxRanges: number): EngineError {
  return badMap(`more than ${maxRanges} ranges`);
}

/** A decimal size. @throws EngineError invalid-argument */
export function parseSize(text: string): number {
  const value = parseDecimal(text);
  if (value === undefined) throw badMap(`${quote(text)} is not a size`);
  return value;
}

/** A decimal number below 2^53 without a sign, else undefined. */
export function parseDecimal(text: string): number | undefined {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : undefined;
}

function badMap(what: string): EngineError {
  return new EngineError('invalid-argument', `sparse file: ${what}`);
}
