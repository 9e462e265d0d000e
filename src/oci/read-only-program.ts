/**
 * Runtimes on a read-only mount. A container could else write to the program of the runtime that enters it (CVE-2019-5736), so crun starts
 * itself anew in every call, from a read-only mount that it makes of itself. One that is on such a mount already goes on at once: that is half of
 * what a small call takes.
 */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { openReadOnly } from '../linux/mount.ts';
import type { OciRuntime } from './oci-runtime.ts';

/** Where a program is found on a read-only mount, as long as this process lives; undefined where the kernel cannot do that. */
export function readOnlyPathOf(program: string): string | undefined {
  try {
    // The directory, and not the file: so that an upgrade, which puts another file in its place, is seen.
    const directory = openReadOnly(dirname(program));
    return `/proc/${process.pid}/fd/${directory}/${basename(program)}`;
  } catch {
    return undefined;
  }
}

/** What to execute for a runtime: always what its path leads to now, read-only where it can be. */
export function programOf({ path, readOnlyPath }: Pick<OciRuntime, 'path' | 'readOnlyPath'>): string {
  return readOnlyPath !== undefined && isSameFile(readOnlyPath, path) ? readOnlyPath : path;
}

function isSameFile(one: string, other: string): boolean {
  const [first, second] = [one, other].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}
