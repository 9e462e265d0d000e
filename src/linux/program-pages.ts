/** The pages of the file that this process was started from (Node's program). */
import { readFileSync, readlinkSync } from 'node:fs';
import { bind } from './libc.ts';

const madvise = bind<[address: bigint, lengthBytes: bigint, advice: number]>(
  'int madvise(uintptr_t addr, size_t length, int advice)',
);

const MADV_DONTNEED = 4;

/** A mapping of the program, from its first address to the one behind its last. */
interface ProgramPart {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * Unmaps what the process has touched of its program so far (madvise(2), MADV_DONTNEED), for the kernel to keep or to take: what is still used
 * comes back from the page cache when it is touched again. May be repeated.
 * @throws SyscallError, with some parts unmapped; Error of Node when the kernel does not tell of its mappings
 */
export function unmapProgramPages(): void {
  const program = readlinkSync('/proc/self/exe');
  for (const { start, end } of unchangedParts(readFileSync('/proc/self/smaps', 'utf8'), program))
    madvise(start, end - start, MADV_DONTNEED);
}

/**
 * The parts of the program's image in which all is as in the file, by the text of proc(5)'s smaps. Pages that were written, and may be swapped
 * out by now, would be lost with their content: those that the linker has relocated, a debugger's breakpoints. The image, from the beginning of
 * the file to its data, stays where it is for as long as the process lives: V8 maps parts of the file elsewhere too, which go when a thread ends,
 * and memory of others may take their place at any moment.
 */
export function unchangedParts(smaps: string, program: string): ProgramPart[] {
  const mappings = smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).flatMap((text) => {
    const [, start = '', end = '', mode = '', offset = '', path] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \S+ +(.*)/.exec(text) ?? [];
    return path === program
      ? [{ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), mode, offset: Number(`0x${offset}`), text }]
      : [];
  });
  const first = mappings.findIndex(({ offset }) => offset === 0);
  const data = mappings.findIndex(({ mode }, index) => index >= first && mode.includes('w'));
  if (first === -1 || data === -1) return [];
  return mappings
    .slice(first, data)
    .filter(({ mode, text }) => mode.endsWith('p') && !hasPagesOfItsOwn(text))
    .map(({ start, end }) => ({ start, end }));
}

function hasPagesOfItsOwn(mapping: string): boolean {
  return !['Anonymous', 'Swap'].every((name) => kilobytes(mapping, name) === 0);
}

/** NaN where the kernel does not count it. */
function kilobytes(mapping: string, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(mapping)?.[1]);
}
