/** What a node holds that pods could leave behind, as lines that can be compared. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** One line for each thing, by kind. */
export type NodeState = Readonly<Record<string, readonly string[]>>;

/** Not /var/log/pods: a container's log belongs to who asked for it there, and stays until that client removes it. */
const roots = [
  '/run/gantry',
  '/run/crun',
  '/run/runc',
  '/run/netns',
  '/dev/shm',
  '/var/lib/gantry',
  '/var/lib/cni',
  '/etc/cni/net.d',
];

/** The daemon's database and its log of writes come and go with checkpoints. */
const transient = /\/state\.db-(?:wal|shm)$/;

/** Takes a snapshot. */
export function nodeState(): NodeState {
  return {
    processes: processes(),
    mounts: mounts(),
    links: jsonLines('ip', ['-j', 'link'], ({ ifname, link_type: type }) => `${ifname} ${type}`),
    routes: [
      ...jsonLines('ip', ['-j', 'route'], ({ dst, dev }) => `${dst} ${dev}`),
      ...jsonLines('ip', ['-j', '-6', 'route'], ({ dst, dev }) => `${dst} ${dev}`),
    ],
    nftables: nftables(),
    iptables: ['iptables-save', 'ip6tables-save'].flatMap((program) =>
      run(program, [])
        .split('\n')
        .filter((line) => line.startsWith('-A ')),
    ),
    cgroups: cgroups(),
    files: roots.flatMap((root) => files(root)).filter((line) => !transient.test(line)),
  };
}

/**
 * Asserts that `after` holds nothing that `before` did not: nothing that a pod brought is left. What ends by itself
 * (a process on its way out, a cgroup whose last process is being reaped, files that are being deleted) is given a minute.
 */
export async function assertNothingLeft(before: NodeState): Promise<void> {
  const deadline = Date.now() + 60_000;
  let left = leftovers(before, nodeState());
  while (Object.keys(left).length > 0 && Date.now() < deadline) {
    await sleep(200);
    left = leftovers(before, nodeState());
  }
  assert.deepEqual(left, {}, 'something was left behind');
}

function leftovers(before: NodeState, after: NodeState): Record<string, readonly string[]> {
  const left: Record<string, readonly string[]> = {};
  for (const [kind, lines] of Object.entries(after)) {
    // A process may have begun another program since: it is its number and the time of its start.
    const nameOf = (line: string): string => (kind === 'processes' ? line.split(' ', 2).join(' ') : line);
    const known = (before[kind] ?? []).map(nameOf);
    const extra = lines.filter((line) => {
      const place = known.indexOf(nameOf(line));
      if (place >= 0) known.splice(place, 1);
      return place < 0;
    });
    if (extra.length > 0) left[kind] = extra;
  }
  return left;
}

/** A flag in `/proc/PID/stat`: the kernel has as many workers of its own as it likes. */
const kernelThread = 0x0020_0000;

/** Of this pid namespace, which is the node's; without the ones that this very snapshot starts. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if ((Number(fields[6]) & kernelThread) !== 0) return [];
        const startTicks = fields[19];
        return [`${pid} ${startTicks} ${command === '' ? stat.split(' ')[1] : command}`];
      } catch {
        return [];
      }
    });
}

function mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [, , , root, target] = line.split(' ');
      const [type] = line.slice(line.indexOf(' - ') + 3).split(' ');
      return `${type} ${type === 'nsfs' ? '' : root} ${target}`;
    });
}

/** Tables, chains, rules and elements, without handles and counters. */
function nftables(): string[] {
  const { nftables: objects } = JSON.parse(run('nft', ['-j', 'list', 'ruleset'])) as {
    nftables: Record<string, unknown>[];
  };
  return objects
    .filter((object) => !('metainfo' in object))
    .map((object) =>
      JSON.stringify(object, (key, value: unknown) =>
        key === 'handle' || key === 'packets' || key === 'bytes' ? undefined : value,
      ),
    );
}

function cgroups(): string[] {
  const hierarchies = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, target = '']) => target);
  const below = (directory: string): string[] =>
    entriesOf(directory)
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => [join(directory, name), ...below(join(directory, name))]);
  return hierarchies.flatMap(below);
}

function files(directory: string): string[] {
  return entriesOf(directory).flatMap((entry) => {
    const path = join(directory, entry.name);
    return [path, ...(entry.isDirectory() ? files(path) : [])];
  });
}

/** None where there is no such directory, any more: what is thrown away is deleted in the background. */
function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

function jsonLines(
  program: string,
  args: readonly string[],
  line: (object: Record<string, string>) => string,
): string[] {
  const text = run(program, args).trim();
  return text === '' ? [] : (JSON.parse(text) as Record<string, string>[]).map(line);
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, [...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}
