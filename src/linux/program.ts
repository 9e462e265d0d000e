import { accessSync, constants, statSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';

const directories = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'];

/** Where bare program names are looked for: fixed, so that the daemon's own environment decides nothing. In PATH's form. */
export const programPath: string = directories.join(':');

/** The file of a program: a name with a slash is taken as it is, a bare one is looked up in the fixed directories. Undefined when there is no such executable file. */
export function installedProgram(name: string): string | undefined {
  if (name === '') return undefined;
  const files = name.includes('/') ? [name] : directories.map((directory) => `${directory}/${name}`);
  return files.find(isExecutable);
}

/** As `installedProgram`, but throws EngineError failed-precondition naming the program. */
export function findProgram(name: string): string {
  const file = installedProgram(name);
  if (file !== undefined) return file;
  const what = name.includes('/')
    ? 'is missing or is not an executable file'
    : `is not installed (looked in ${programPath})`;
  throw new EngineError('failed-precondition', `program ${name} ${what}`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
