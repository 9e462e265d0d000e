/** The pages of the file that this process was started from (Node's program), as proc(5) counts them in smaps. */
import { readFileSync, readlinkSync } from 'node:fs';
import { bind } from './libc.ts';

/** `length` in bytes. */
const madvise = bind<[address: bigint, length: bigint, advice: number]>(
  'int madvise(uintptr_t addr, size_t length, int advice)',
);

const MADV_DONTNEED = 4;

interface ProgramPart {
  readonly start: bigint;
  readonly end: bigint;
  readonly residentBytes: number;
}

/**
 * Unmaps what the process has touched of its program so far, for the kernel to keep or to take: what is still used comes back from the page
 * cache when it is touched again. @throws SyscallError; Error of Node when the kernel does not tell of its mappings
 */
export function unmapProgramPages(): void {
  for (const { start, end } of programParts()) madvise(start, end - start, MADV_DONTNEED);
}

/** Those parts in which all is as in the file: pages that were written (relocations, a debugger's breakpoints) would be lost. */
export function programParts(): ProgramPart[] {
  const program = readlinkSync('/proc/self/exe');
  return readFileSync('/proc/self/smaps', 'utf8')
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
    .flatMap((text) => {
      const [, start, end, path] = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.*)$/m.exec(text) ?? [];
      if (start === undefined || end === undefined || path !== program || kilobytes(text, 'Anonymous') !== 0)
        return [];
      return [
        {
          start: BigInt(`0x${start}`),
          end: BigInt(`0x${end}`),
          residentBytes: kilobytes(text, 'Rss') * 1024,
        },
      ];
    });
}

function kilobytes(mapping: string, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(mapping)?.[1]);
}
