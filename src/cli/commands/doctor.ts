/** `gantry doctor`: what this host has and lacks, and what to do about it. Works with and without a daemon. */
import { Command } from 'commander';
import type { ExamineOptions } from '../../doctor/examine.ts';
import type { DaemonFacts } from '../../doctor/judge-daemon.ts';
import type { Finding, Verdict } from '../../doctor/finding.ts';
import type { Machine } from '../../doctor/machine.ts';
import { messageOf } from '../../lib/errors.ts';
import { jsonOption, print, socketOption, socketPathOf, withCri } from '../connection.ts';
import { formatJson, parseInfo } from '../json.ts';
import { formatBytes } from '../units.ts';

interface Options {
  readonly json?: true;
  readonly all?: true;
}

const defaults: ExamineOptions = {
  dataDirectory: '/var/lib/gantry',
  confDir: '/etc/cni/net.d',
  binDirs: ['/opt/cni/bin', '/usr/lib/cni'],
};

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('examine this host, with or without a daemon, and say what to do')
    .option('-a, --all', 'show what is well too')
    .addOption(jsonOption())
    .addOption(socketOption())
    .addHelpText('after', '\nThe exit code is 1 when something stops pods from running.')
    .action(async (options: Options, command: Command) => {
      const { examineHost } = await import('../../doctor/examine.ts');
      const { judgeDaemon } = await import('../../doctor/judge-daemon.ts');
      const { describeMachine } = await import('../../doctor/machine.ts');
      const { facts, directories } = await askDaemon(command);
      const [machine, host] = await Promise.all([describeMachine(), examineHost(directories)]);
      const findings = [...judgeDaemon(facts), ...host];
      await print(
        options.json ? formatJson({ machine, findings }) : describe(machine, findings, options.all === true),
      );
      if (findings.some(({ verdict }) => verdict === 'problem')) process.exitCode = 1;
    });
}

/** The directories are those of the daemon's configuration when it can be asked. */
async function askDaemon(
  command: Command,
): Promise<{ readonly facts: DaemonFacts; readonly directories: ExamineOptions }> {
  try {
    return await withCri(command, async ({ runtime }) => {
      const options = { timeoutMs: 10_000 };
      const [version, { status, info }] = await Promise.all([
        runtime.version({}, options),
        runtime.status({ verbose: true }, options),
      ]);
      const facts = {
        isReachable: true,
        socket: socketPathOf(command),
        version: `${version.runtimeName} ${version.runtimeVersion}`,
        conditions: status?.conditions ?? [],
      } as const;
      return { facts, directories: directoriesOf(parseInfo(info)['config']) };
    });
  } catch (error) {
    return { facts: { isReachable: false, reason: messageOf(error) }, directories: defaults };
  }
}

interface DaemonConfig {
  readonly root?: string;
  readonly cni?: { readonly conf_dir?: string; readonly bin_dirs?: readonly string[] };
}

function directoriesOf(config: unknown): ExamineOptions {
  const { root, cni } = (config ?? {}) as DaemonConfig;
  return {
    dataDirectory: root ?? defaults.dataDirectory,
    confDir: cni?.conf_dir ?? defaults.confDir,
    binDirs: cni?.bin_dirs ?? defaults.binDirs,
  };
}

const marks: Readonly<Record<Verdict, string>> = {
  ok: 'ok',
  note: 'note',
  warning: 'WARNING',
  problem: 'PROBLEM',
};

function describe(machine: Machine, findings: readonly Finding[], showsAll: boolean): string {
  const lines = [
    `${machine.distribution}, Linux ${machine.kernel}, ${machine.architecture}`,
    `${machine.hardware}, ${machine.cpu}, ${machine.cores} cores, ${formatBytes(machine.memoryBytes)} of memory`,
    '',
  ];
  for (const [area, all] of Map.groupBy(findings, (finding) => finding.area)) {
    const shown = all.filter(({ verdict }) => showsAll || verdict !== 'ok');
    if (shown.length === 0) lines.push(`${area}: well`);
    else lines.push(`${area}:`, ...shown.map(line));
  }
  lines.push('', summary(findings, showsAll));
  return `${lines.join('\n')}\n`;
}

function line({ subject, verdict, text }: Finding): string {
  return `  ${marks[verdict].padEnd(8)} ${subject}: ${text}`;
}

function summary(findings: readonly Finding[], showsAll: boolean): string {
  const count = (verdict: Verdict): string => {
    const { length } = findings.filter((finding) => finding.verdict === verdict);
    return `${length} ${verdict}${length === 1 ? '' : 's'}`;
  };
  const hint = showsAll ? '' : ' (--all shows what is well)';
  return `${count('problem')}, ${count('warning')}, ${count('note')}${hint}`;
}
