/** Having the kernel ready by the time that processes are moved into cgroups. */
import { writeFile } from 'node:fs/promises';
import { cgroupOfProcess, controllerDirectory, type HostCgroups } from './host.ts';

/**
 * Gives a function that says: soon processes will be moved. Before the first move the kernel lets a grace period of RCU pass, some ten
 * milliseconds, in which a new container would wait; those that follow shortly go at once. So the first move is one that changes
 * nothing, this process into its own cgroup, while other work is done. Best effort; one at a time.
 */
export function moveExpecter(host: HostCgroups): () => void {
  let isUnderWay = false;
  return () => {
    if (isUnderWay) return;
    // Asked each time: who manages this host may have moved us, and it is not ours to move back.
    const own = cgroupOfProcess(host, 'self');
    if (own === undefined || own.startsWith('/..')) return;
    const directory = controllerDirectory(host, 'memory', own);
    if (directory === undefined) return;
    isUnderWay = true;
    const done = (): void => void (isUnderWay = false);
    void writeFile(`${directory}/cgroup.procs`, String(process.pid), { flag: 'r+' }).then(done, done);
  };
}
