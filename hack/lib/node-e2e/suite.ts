/** One run of Kubernetes' node suite, by Ginkgo, against an engine that listens. */
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { env } from 'node:process';
import { engineGroup, type RunningEngine } from './engines.ts';
import { writeKubeletConfig } from './node-setup.ts';
import type { Options } from './options.ts';
import { runLogged } from '../ginkgo/logged-command.ts';
import { readReport, type SuiteReport } from '../ginkgo/report.ts';

/** The figures and lists of the CRI in place of what cAdvisor knows: alpha in Kubernetes 1.36. */
const featureGates = 'PodAndContainerStatsFromCRI=true,CRIListStreaming=true';

/** Runs it and reads its report. `directory` must lie on a real file system. @throws Error when there is no report */
export async function runSuite(
  options: Options,
  engine: RunningEngine,
  directory: string,
): Promise<SuiteReport> {
  // Ginkgo takes a program for one that is built already by its ending.
  const program = join(directory, 'e2e_node.test');
  symlinkSync(join(options.kubernetes, 'e2e_node'), program);
  const kubeletConfig = join(directory, 'base-kubelet-config');
  writeKubeletConfig(kubeletConfig);
  mkdirSync(options.logs, { recursive: true });
  const report = join(options.logs, 'report.json');
  const argv = [
    'run',
    '--no-color',
    '--timeout=24h',
    `--procs=${options.procs}`,
    `--label-filter=${options.labels}`,
    ...options.focus.map((pattern) => `--focus=${pattern}`),
    ...options.skip.map((pattern) => `--skip=${pattern}`),
    ...(options.repeat > 1 ? [`--repeat=${options.repeat - 1}`] : []),
    '--json-report=report.json',
    `--output-dir=${options.logs}`,
    program,
    '--',
    `--k8s-bin-dir=${options.kubernetes}`,
    `--container-runtime-endpoint=unix://${engine.socket}`,
    `--container-runtime-pid-file=${engine.pidFile}`,
    '--node-name=node1',
    '--prepull-images=false',
    // Of its API server and kubelet: two minutes are too few for a busy VM.
    '--server-start-timeout=10m',
    `--kubelet-config-file=${kubeletConfig}`,
    `--kubelet-flags=--runtime-cgroups=/${engineGroup}`,
    `--feature-gates=${featureGates}`,
    `--report-dir=${options.logs}`,
  ];
  const exitCode = await runLogged(join(options.kubernetes, 'ginkgo'), argv, {
    directory,
    log: join(options.logs, 'ginkgo.log'),
    environment: options.isSerial ? serviceManager(directory) : {},
  });
  if (!existsSync(report))
    throw new Error(`ginkgo ended with ${exitCode} and left no report: see ginkgo.log`);
  return readReport(readFileSync(report, 'utf8'));
}

/** Where no systemd runs, something must stand in for it, or specs cannot stop and start the kubelet. */
function serviceManager(directory: string): Record<string, string> {
  const programs = join(import.meta.dirname, 'service-manager');
  return { PATH: `${programs}:${env['PATH'] ?? ''}`, GANTRY_NODE_UNITS: join(directory, 'units') };
}
