/** Entries of test images' layers that come from this machine: programs with their libraries, and plain folders. */
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import type { LayerEntry } from '../../../src/images/testing/build-image.ts';

export function directory(name: string, mode = 0o755): LayerEntry {
  return { name: `${name}/`, type: 'directory', mode };
}

/** A file of this machine at `name` in the image. */
export function copyOf(path: string, name = path.slice(1), mode = 0o755): LayerEntry {
  return { name, mode, content: readFileSync(realpathSync(path)) };
}

/** Of a program or a loadable module: the shared libraries that it needs, its interpreter among them. */
function librariesOf(path: string): readonly string[] {
  let listing: string;
  try {
    listing = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    // It is static.
    return [];
  }
  return [...listing.matchAll(/(\/\S+) \(/g)].map(([, library = '']) => library);
}

/**
 * Programs and loadable modules of this machine, at the places where they are here, and the libraries that they need,
 * once each. Of the multi-arch folders only the files are copied, so that an image is as large as what it runs.
 */
export function programEntries(...programs: readonly string[]): readonly LayerEntry[] {
  const libraries = new Set(programs.flatMap(librariesOf));
  return [...programs, ...libraries].map((path) => copyOf(path));
}

/** Programs as `programEntries` has them, but found in `usr/local/bin`, before busybox's applets of the same name. */
export function preferredPrograms(...programs: readonly string[]): readonly LayerEntry[] {
  const libraries = [...new Set(programs.flatMap(librariesOf))];
  return [
    ...programs.map((path) => copyOf(path, `usr/local/bin/${basename(path)}`)),
    ...libraries.map((path) => copyOf(path)),
  ];
}
