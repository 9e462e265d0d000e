/** Which test files run together, on which kind of host, and for how long at most. */
import { globSync, readFileSync } from 'node:fs';

/** One start of node:test. */
export interface Suite {
  readonly name: string;
  /** The command that the tests run below: empty for this machine itself. */
  readonly host: readonly string[];
  readonly files: readonly string[];
  /** Files at a time. */
  readonly concurrency: number;
  readonly timeoutMs: number;
}

const minuteMs = 60_000;

/**
 * A test file may say in its first lines where it wants to run:
 * `// test-host: vm` (or `vm --systemd`, `node`, `host`; several, separated by commas, run it once on each) and
 * `// test-minutes: 20`. Without a word it runs in a node.
 */
function wishesOf(file: string): { hosts: string[]; minutes: number | undefined } {
  const head = readFileSync(file, 'utf8').slice(0, 1000);
  const hosts = /^\/\/ test-host: (.+)$/m
    .exec(head)?.[1]
    ?.split(',')
    .map((host) => host.trim()) ?? ['node'];
  const minutes = /^\/\/ test-minutes: (\d+)$/m.exec(head)?.[1];
  return { hosts, minutes: minutes === undefined ? undefined : Number(minutes) };
}

function commandOf(host: string, minutes: number): string[] {
  const [kind = '', ...options] = host.split(' ');
  switch (kind) {
    case 'host':
      return [];
    case 'node':
      return ['hack/node', ...options];
    case 'vm':
      return ['hack/vm', '--timeout', String(minutes * 60), ...options];
    default:
      throw new Error(`no kind of test host is called ${JSON.stringify(kind)} (host, node, vm)`);
  }
}

/** Files of one folder that want nothing special share one start; every other file has its own. */
function suitesOf(
  name: string,
  files: readonly string[],
  shared: { concurrency: number } | undefined,
): Suite[] {
  const together: string[] = [];
  const alone: Suite[] = [];
  for (const file of files) {
    const { hosts, minutes } = wishesOf(file);
    for (const host of hosts) {
      if (shared && host === 'node' && minutes === undefined) {
        together.push(file);
        continue;
      }
      const limit = minutes ?? 10;
      alone.push({
        name: `${file} (${host})`,
        host: commandOf(host, limit),
        files: [file],
        concurrency: 1,
        timeoutMs: limit * minuteMs,
      });
    }
  }
  if (!shared || together.length === 0) return alone;
  const suite = {
    name: `${name} (node)`,
    host: commandOf('node', 0),
    files: together,
    timeoutMs: 15 * minuteMs,
  };
  return [{ ...suite, ...shared }, ...alone];
}

/** Everything that there is to run, cheapest first; `words` narrows it to the files whose path holds one of them. */
export function planSuites(words: readonly string[]): Suite[] {
  const find = (pattern: string): string[] =>
    globSync(pattern)
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .toSorted();
  return [
    ...suitesOf('unit', find('src/**/*.test.ts'), { concurrency: 2 }),
    ...suitesOf('integration', find('test/integration/*.test.ts'), { concurrency: 1 }),
    ...suitesOf('e2e', find('test/e2e/*.test.ts'), undefined),
  ];
}
