import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What was measured on: `crun version 1.21, conmon version 2.1.6, node v24.21.0; Linux 6.18.44; 2 x AMD EPYC; 24 GiB; load at the start 0.48`. */
export function describeMachine(runtime: string): string {
  const cpus = readFileSync('/proc/cpuinfo', 'utf8');
  const model = /^model name\s*: (.*)$/m.exec(cpus)?.[1] ?? 'unknown processor';
  const count = [...cpus.matchAll(/^processor\s*:/gm)].length;
  const memoryKb = Number(/^MemTotal:\s*(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
  const programs = [versionOf(runtime), versionOf('conmon'), `node ${process.version}`].join(', ');
  const kernel = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '';
  return `${programs}; Linux ${kernel}; ${count} x ${model}; ${Math.round(memoryKb / 2 ** 20)} GiB; load at the start ${load}`;
}

function versionOf(program: string): string {
  return execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? '';
}
