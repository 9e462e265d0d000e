/** Undoing changes of limits: what files of cgroups held is kept, and written back where it has changed. */
import { writeFile } from 'node:fs/promises';
import { readText } from './files.ts';

/** Writes back what was kept. @throws the first error, once everything has been tried */
export type PutBack = () => Promise<void>;

/** What a file held. */
export interface KeptValue {
  readonly directory: string;
  readonly file: string;
  readonly value: string;
}

/** Undefined for a file that is not there. */
export function keep(directory: string, file: string): KeptValue | undefined {
  const value = readText(directory, file);
  return value === undefined ? undefined : { directory, file, value };
}

/** Changes nothing that is as it was, nor of a cgroup that is gone. @throws the first error, once everything has been tried */
export async function putBack(kept: readonly KeptValue[]): Promise<void> {
  let failure: unknown;
  // Twice: the new value of one limit may be in the way of the old one of another (memory, and memory with swap of cgroup v1).
  for (const _ of [1, 2]) {
    failure = undefined;
    for (const value of kept) {
      try {
        await putOneBack(value);
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure === undefined) return;
  }
  throw failure;
}

async function putOneBack({ directory, file, value }: KeptValue): Promise<void> {
  const now = readText(directory, file);
  if (now === undefined || now === value) return;
  for (const line of linesBack(file, value, now)) await writeLine(directory, file, line);
}

/** One write call a line, without O_CREAT and O_TRUNC: a directory that stands for a cgroup must have the file already. */
export async function writeLine(directory: string, file: string, line: string): Promise<void> {
  // An empty list (cpuset.cpus: what the parent has) is an empty line: no bytes would be no write call.
  await writeFile(`${directory}/${file}`, line === '' ? '\n' : line, { flag: 'r+' });
}

/** io.max has a line for each device with a limit, and takes one at a time: those that had none have none again. */
function linesBack(file: string, before: string, now: string): readonly string[] {
  if (file !== 'io.max') return before.split('\n');
  const had = new Set(before.split('\n').map(deviceOf));
  const added = now
    .split('\n')
    .map(deviceOf)
    .filter((device) => !had.has(device));
  return [
    ...added.map((device) => `${device} rbps=max wbps=max riops=max wiops=max`),
    ...before.split('\n').filter((line) => line !== ''),
  ];
}

function deviceOf(line: string): string {
  return line.split(' ', 1)[0] ?? '';
}
