/** What the installed programs mean for pods. Pure. */
import { advisories, type Advisory } from './advisories.ts';
import { findingsOf, type Finding, type Verdict } from './finding.ts';
import type { ProgramFacts } from './program-facts.ts';
import { hasFix } from './version.ts';

const finding = findingsOf('programs');

/** The Debian package of each, and what its absence means. */
const needs: Readonly<
  Record<string, { readonly package: string; readonly verdict: Verdict; readonly without: string }>
> = {
  conmon: { package: 'conmon', verdict: 'problem', without: 'no container can be started' },
  catatonit: {
    package: 'catatonit',
    verdict: 'warning',
    without: 'pods that share one process namespace cannot be run',
  },
  nft: {
    package: 'nftables',
    verdict: 'problem',
    without: 'the built-in network and host ports do not work',
  },
  igzip: {
    package: 'isal',
    verdict: 'note',
    without: 'layers compressed by gzip take half as long again to pull',
  },
  zstd: { package: 'zstd', verdict: 'note', without: 'layers compressed by zstd take longer to pull' },
  iptables: {
    package: 'iptables',
    verdict: 'note',
    without: 'CNI plugins and kube-proxy that use it do not work; Gantry itself does not need it',
  },
  conntrack: {
    package: 'conntrack',
    verdict: 'note',
    without: 'kube-proxy cannot clear stale UDP entries; Gantry itself does not need it',
  },
};

const runtimes = ['crun', 'runc'];

/** The programs to look for. */
export const programNames: readonly string[] = [...runtimes, ...Object.keys(needs)];

export function judgePrograms(programs: readonly ProgramFacts[]): Finding[] {
  const hasRuntime = programs.some(({ name, path }) => runtimes.includes(name) && path !== undefined);
  return [
    ...(hasRuntime
      ? []
      : [
          finding(
            'OCI runtime',
            'problem',
            'neither crun nor runc is installed: no container can be started; apt-get install crun',
          ),
        ]),
    ...programs.flatMap((program) => [
      judgePresence(program, hasRuntime),
      ...advisories
        .filter((advisory) => concerns(advisory, program))
        .map((advisory) => judgeAdvisory(advisory, program)),
    ]),
  ];
}

function judgePresence({ name, path, version, package: owner }: ProgramFacts, hasRuntime: boolean): Finding {
  if (path === undefined) {
    const need = needs[name];
    if (need === undefined)
      return finding(name, 'note', `not installed${hasRuntime ? ': the other runtime is used' : ''}`);
    return finding(name, need.verdict, `not installed: ${need.without}; apt-get install ${need.package}`);
  }
  if (version === undefined)
    return finding(name, 'warning', `${path} does not tell its version: try "${path} --version"`);
  const from = owner === undefined ? 'from no Debian package' : `Debian's ${owner.name} ${owner.revision}`;
  return finding(name, 'ok', `${version}, ${path}, ${from}`);
}

function concerns(advisory: Advisory, { name, version }: ProgramFacts): boolean {
  return advisory.program === name && version !== undefined && !hasFix(version, advisory.fixedIn);
}

/** The number is that of a flawed version. Whether the flaw is there, a distribution's changelog tells. */
function judgeAdvisory(advisory: Advisory, { name, package: owner }: ProgramFacts): Finding {
  const { cves, allows, fixedIn, guard } = advisory;
  const subject = `${name} ${cves[0]}`;
  const all = cves.join(', ');
  if (owner?.cves !== undefined && cves.every((cve) => owner.cves?.has(cve)))
    return finding(
      subject,
      'ok',
      `Debian's revision ${owner.revision} has the fix for ${all} under the old number, says its changelog`,
    );
  const flaw = `${all} lets ${allows}`;
  if (guard !== undefined)
    return finding(subject, 'note', `${flaw}; ${guard}. Fixed in ${fixedIn.join(', ')}`);
  return finding(subject, 'warning', `${flaw}. ${advice(advisory, owner)}`);
}

function advice({ program, cves, fixedIn }: Advisory, owner: ProgramFacts['package']): string {
  const newer = `${program} ${fixedIn.join(' or ')} or newer`;
  if (owner === undefined) return `Install ${newer}`;
  const tracker = `https://security-tracker.debian.org/tracker/${cves[0]}`;
  return owner.cves === undefined
    ? `Debian mends under the old number, but the changelog of ${owner.revision} is not installed: look at ${tracker}`
    : `The changelog of Debian's revision ${owner.revision} does not name it: apt-get install --only-upgrade ${owner.name}, look at ${tracker}, or install ${newer}`;
}
