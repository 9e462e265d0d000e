/** What processes take, as the kernel counts it. */
import { readFileSync } from 'node:fs';

/** Their proportional set size: shared pages count for each user's share. Processes that have ended count nothing. */
export function proportionalSetMb(pids: readonly number[]): number {
  return rollupMb(pids, 'Pss');
}

/** That of memory which no file holds: what the kernel cannot take back but by swapping. */
export function anonymousMb(pids: readonly number[]): number {
  return rollupMb(pids, 'Pss_Anon');
}

function rollupMb(pids: readonly number[], field: string): number {
  const line = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm');
  const kilobytes = pids.map((pid) => Number(line.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0));
  return kilobytes.reduce((sum, each) => sum + each, 0) / 1024;
}

/** Processor time that they have used so far, in milliseconds. */
export function processorMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid), 0) * msPerTick;
}

/** USER_HZ, which is 100 on every architecture that Linux tells it to. */
const msPerTick = 10;

function ticksOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
