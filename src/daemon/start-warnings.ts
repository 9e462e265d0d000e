/** What the daemon says in its log at every start because somebody may be relying on the opposite. */
import type { Config } from '../config-schema.ts';
import { judgePrograms } from '../doctor/judge-programs.ts';
import { readChangelog, type ProgramFacts } from '../doctor/program-facts.ts';
import { isLoopbackHost } from '../images/registry/addresses.ts';
import type { OciRuntime } from '../oci/oci-runtime.ts';

/** Runtimes with known flaws, each by name and number, and servers without a password that others can reach. */
export function startWarnings(
  { streaming, metrics }: Pick<Config, 'streaming' | 'metrics'>,
  runtimes: Iterable<Pick<OciRuntime, 'kind' | 'path' | 'version'>>,
): string[] {
  const flaws = judgePrograms([...runtimes].map((runtime) => factsOf(runtime))).filter(
    ({ verdict }) => verdict === 'warning',
  );
  return [
    ...flaws.map(({ subject, text }) => `${subject}: ${text}`),
    ...exposure('streaming.address', streaming.address, 'exec and attach go over it in the clear'),
    ...(metrics.address === ''
      ? []
      : exposure('metrics.address', metrics.address.replace(/:\d+$/, ''), 'it asks for no password')),
  ];
}

/** No process is started for this: of Debian's packages the changelog lies in a known place. */
function factsOf({ kind, path, version }: Pick<OciRuntime, 'kind' | 'path' | 'version'>): ProgramFacts {
  const isPackaged = ['/usr/bin/', '/usr/sbin/'].some((directory) => path === directory + kind);
  const cves = isPackaged ? readChangelog(kind) : undefined;
  return {
    name: kind,
    path,
    version,
    package: isPackaged ? { name: kind, revision: version, cves } : undefined,
  };
}

function exposure(key: string, host: string, why: string): string[] {
  if (isLoopbackHost(host)) return [];
  return [`${key} is not a loopback address: ${why}`];
}
