import { readdirSync } from 'node:fs';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { readBounded } from './host-files.ts';
import { parseCdiSpec, type CdiSpec } from './spec/cdi.ts';

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
        specs.push(parseCdiSpec(readBounded(file, maxCdiFileBytes, 'CDI file'), file, priority));
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
  }
  return { specs, failures };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => isCdiFile.test(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
