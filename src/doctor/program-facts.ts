/** Which programs are installed, which versions they are, and what their packages say. */
import { readFileSync, realpathSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { runCommand } from '../linux/command.ts';
import { installedProgram } from '../linux/program.ts';

export interface ProgramFacts {
  readonly name: string;
  /** undefined when it is not installed. */
  readonly path: string | undefined;
  readonly version: string | undefined;
  /** The Debian package that the file belongs to. */
  readonly package: PackageFacts | undefined;
}

interface PackageFacts {
  readonly name: string;
  /** With the distribution's revision, such as `1.1.5+ds1-1+deb12u1`. */
  readonly revision: string;
  /** CVE numbers that its changelog names; undefined where there is no changelog. */
  readonly cves: ReadonlySet<string> | undefined;
}

/** How each program is asked for its version. */
const versionArguments: Readonly<Record<string, string>> = { conntrack: '--version' };

const commandTimeoutMs = 10_000;

/** Never throws: a program that does not answer has no version. */
export async function readProgramFacts(names: readonly string[]): Promise<ProgramFacts[]> {
  const paths = new Map<string, string>();
  for (const name of names) {
    const path = installedProgram(name);
    if (path !== undefined) paths.set(name, path);
  }
  const packages = await readPackages([...paths.values()]);
  return await Promise.all(
    names.map(async (name) => {
      const path = paths.get(name);
      if (path === undefined) return { name, path, version: undefined, package: undefined };
      return { name, path, version: await versionOf(name, path), package: packages.get(realpathSync(path)) };
    }),
  );
}

/** The first thing in the answer that looks like a version. */
export function parseVersion(output: string): string | undefined {
  return /\bv?(\d+\.\d+(?:\.\d+)?[^\s,()]*)/.exec(output)?.[1];
}

async function versionOf(name: string, path: string): Promise<string | undefined> {
  const output = await answerOf([path, versionArguments[name] ?? '--version']);
  return output === undefined ? undefined : parseVersion(output);
}

async function readPackages(paths: readonly string[]): Promise<Map<string, PackageFacts>> {
  const found = new Map<string, PackageFacts>();
  if (paths.length === 0) return found;
  const owners = parseOwners(
    (await answerOf(['dpkg-query', '-S', ...paths.map((path) => realpathSync(path))])) ?? '',
  );
  if (owners.size === 0) return found;
  const format = '${Package}\t${Version}\n';
  const revisions = (await answerOf(['dpkg-query', '-W', '-f', format, ...new Set(owners.values())])) ?? '';
  const byName = new Map(revisions.split('\n').map((line) => line.split('\t') as [string, string]));
  for (const [path, name] of owners) {
    const revision = byName.get(name);
    if (revision !== undefined) found.set(path, { name, revision, cves: readChangelog(name) });
  }
  return found;
}

/** Reads `crun: /usr/bin/crun` and `libc6:amd64: /lib/...`. */
function parseOwners(output: string): Map<string, string> {
  const owners = new Map<string, string>();
  for (const line of output.split('\n')) {
    const [, owner, path] = /^([a-z0-9+.-]+)(?::[a-z0-9]+)?: (\/.*)$/.exec(line) ?? [];
    if (owner !== undefined && path !== undefined) owners.set(path, owner);
  }
  return owners;
}

/** The CVE numbers in a package's changelog. Debian mends old versions: only there it is said what was mended under the old number. */
export function readChangelog(name: string): ReadonlySet<string> | undefined {
  for (const file of ['changelog.Debian.gz', 'changelog.gz']) {
    try {
      const text = gunzipSync(readFileSync(`/usr/share/doc/${name}/${file}`)).toString('utf8');
      return new Set(text.match(/CVE-\d{4}-\d{4,}/g));
    } catch {
      // Not there: images of containers and small installations leave documents out.
    }
  }
  return undefined;
}

/** What a program prints; a dpkg-query that does not know one of several paths fails, and yet knows the others. */
async function answerOf(argv: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout } = await runCommand(argv, { timeoutMs: commandTimeoutMs, maxOutputBytes: 1024 * 1024 });
    return stdout.toString('utf8');
  } catch {
    return undefined;
  }
}
