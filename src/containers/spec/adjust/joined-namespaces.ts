/** What stands at the paths of namespaces that plugins name. */
import { readdir, stat, statfs } from 'node:fs/promises';
import { cleanPath } from '../clean-path.ts';
import type { SpecAdjustment } from './spec-adjustment.ts';

/** `node`: one of those that the node's own processes have. `none`: nothing, or no namespace. */
type NamespaceOwner = 'node' | 'other' | 'none';

/** By clean path. */
export type JoinedNamespaces = ReadonlyMap<string, NamespaceOwner>;

/** Looks up each path that the change would have a container join. @throws EngineError invalid-argument for a relative path */
export async function lookUpNamespaces({ set }: SpecAdjustment['namespaces']): Promise<JoinedNamespaces> {
  const paths = set.flatMap(({ type, path }) =>
    path === undefined ? [] : [cleanPath(path, `namespaces[${type}].path`)],
  );
  if (paths.length === 0) return new Map();
  const own = await namespacesOfNode();
  return new Map(
    await Promise.all(paths.map(async (path) => [path, ownerOf(await identityOf(path), own)] as const)),
  );
}

function ownerOf(identity: string | undefined, own: ReadonlySet<string>): NamespaceOwner {
  if (identity === undefined) return 'none';
  return own.has(identity) ? 'node' : 'other';
}

/** Of whatever kind: a path may be named with another kind than it has. The daemon's may be others than those of init. */
async function namespacesOfNode(): Promise<Set<string>> {
  const directories = ['/proc/1/ns', '/proc/self/ns'];
  const paths = await Promise.all(
    directories.map(async (directory) => (await readdir(directory)).map((name) => `${directory}/${name}`)),
  );
  const identities = await Promise.all(paths.flat().map(identityOf));
  return new Set(identities.filter((identity) => identity !== undefined));
}

const nsfsMagic = 0x6e736673;

/** By whatever path it is reached: links and bind mounts lead to the same device and inode. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const [{ dev, ino }, { type }] = await Promise.all([stat(path, { bigint: true }), statfs(path)]);
    return type === nsfsMagic ? `${dev}:${ino}` : undefined;
  } catch {
    return undefined;
  }
}
