import { readdirSync } from 'node:fs';
import { parse } from 'yaml';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { readBounded } from './host-files.ts';
import { checkCdiSpec, type CdiSpec } from './spec/cdi.ts';

const maxCdiFileBytes = 1024 * 1024;
const isCdiFile = /\.(?:json|ya?ml)$/;

/**
 * The vendors' files in these directories, of which later ones win. A bad file takes only its own devices away: why it
 * was passed over stands in `failures`.
 */
export function readCdiSpecs(directories: readonly string[]): {
  readonly specs: readonly CdiSpec[];
  readonly failures: readonly string[];
} {
  const specs: CdiSpec[] = [];
  const failures: string[] = [];
  for (const [priority, directory] of directories.entries()) {
    for (const name of namesIn(directory)) {
      const file = `${directory}/${name}`;
      try {
        specs.push(checkCdiSpec(readCdiFile(file), file, priority));
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
  }
  return { specs, failures };
}

/** JSON, or YAML where the file is named so. */
function readCdiFile(file: string): unknown {
  const text = readBounded(file, maxCdiFileBytes, 'CDI file');
  const format = file.endsWith('.json') ? 'JSON' : 'YAML';
  try {
    // Vendors write for a YAML 1.1 reader: `fileMode: 0666` is octal.
    return format === 'JSON' ? JSON.parse(text) : parse(text, { version: '1.1', logLevel: 'error' });
  } catch (error) {
    throw new EngineError('failed-precondition', `CDI file ${file} is not ${format}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => isCdiFile.test(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
