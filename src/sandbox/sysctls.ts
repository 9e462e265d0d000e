/** Which sysctls a pod may set: those that belong to a namespace of its own. */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import type { PodConfig } from './pod-config.ts';

const namePattern = /^[a-z0-9_][a-z0-9_.\-/]*$/i;
const ipcNames = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
]);

/**
 * Refuses a sysctl that is not the pod's to set. CRI-O's CVE-2022-0811 set the node's `kernel.core_pattern` so.
 *
 * @throws EngineError invalid-argument naming the sysctl
 */
export function checkSysctls({ sysctls, namespaces }: Pick<PodConfig, 'sysctls' | 'namespaces'>): void {
  for (const [name, value] of Object.entries(sysctls)) {
    const dotted = name.replaceAll('/', '.');
    const refuse = (why: string): never => {
      throw new EngineError('invalid-argument', `linux.sysctls: ${quote(name)} ${why}`);
    };
    if (!namePattern.test(name) || dotted.includes('..')) refuse('is not the name of a sysctl');
    if (value.includes('\n') || value.includes('\0')) refuse('has a value of several lines');
    if (dotted.startsWith('net.')) {
      if (namespaces.network.mode === 'node')
        refuse('belongs to the node: the pod uses its network namespace');
    } else if (ipcNames.has(dotted) || dotted.startsWith('fs.mqueue.')) {
      if (namespaces.ipc.mode === 'node') refuse('belongs to the node: the pod uses its IPC namespace');
    } else if (dotted !== 'kernel.hostname' && dotted !== 'kernel.domainname') {
      refuse('is not namespaced: it would change the whole node');
    } else if (namespaces.network.mode === 'node') {
      refuse('belongs to the node: the pod uses its UTS namespace');
    }
  }
}
