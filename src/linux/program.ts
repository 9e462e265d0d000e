import { accessSync, constants, statSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';

const directories = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'];

/** Where bare program names are looked for: fixed, so that the daemon's own environment decides nothing. In PATH's form. */
export const programPath: string = directories.join(':');

/**
 * The file of a program: a name with a slash is taken as it is, a bare one is looked up in the fixed directories.
 * Throws EngineError failed-precondition naming the program when there is no such executable file.
 */
export function findProgram(name: string): string {
  if (name.includes('/')) {
    if (isExecutable(name)) return name;
    throw new EngineError('failed-precondition', `program ${name} is missing or is not an executable file`);
  }
  for (const directory of directories) {
    const file = `${directory}/${name}`;
    if (name !== '' && isExecutable(file)) return file;
  }
  throw new EngineError('failed-precondition', `program ${name} is not installed (looked in ${programPath})`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
