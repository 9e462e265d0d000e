/** Which process the kernel ends first when memory runs out. */
import { writeFileSync } from 'node:fs';

/**
 * Sets a process’s oom_score_adj; what it starts from then on inherits it. For the processes of an exec: crun 1.8 and runc
 * 1.1 leave those with the daemon’s own score, which shields them from the OOM killer as it shields the daemon.
 * Best effort: the process may be gone, and not every daemon may lower a score.
 */
export function setOomScore(pid: number, score: number | undefined): void {
  if (score === undefined) return;
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch {
    // Its score stays the daemon's.
  }
}
