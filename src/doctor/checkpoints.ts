/** Whether containers can be checkpointed here: a question to CRIU and to each runtime. */
import { whyNoCheckpoints, whyNoCriu } from '../oci/criu.ts';
import { findingsOf, type Finding } from './finding.ts';
import type { ProgramFacts } from './program-facts.ts';

const finding = findingsOf('programs');
const subject = 'checkpoints';

/** Starts CRIU's own check, which takes a tenth of a second. `programs` has the runtimes. */
export async function examineCheckpoints(programs: readonly ProgramFacts[]): Promise<Finding> {
  const missing = await whyNoCriu();
  if (missing !== undefined) return finding(subject, 'note', `containers cannot be checkpointed: ${missing}`);
  const reasons = new Map<string, string | undefined>();
  for (const { name, path, version = 'of unknown version' } of programs)
    if ((name === 'crun' || name === 'runc') && path !== undefined)
      reasons.set(name, await whyNoCheckpoints({ name, path, version }));
  return judge(reasons);
}

function judge(reasons: ReadonlyMap<string, string | undefined>): Finding {
  const able = [...reasons].filter(([, reason]) => reason === undefined).map(([name]) => name);
  const unable = [...reasons.values()].filter((reason) => reason !== undefined).join('; ');
  if (able.length === 0) return finding(subject, 'note', `containers cannot be checkpointed: ${unable}`);
  const text = `containers of ${able.join(' and ')} can be checkpointed`;
  return finding(subject, unable === '' ? 'ok' : 'note', unable === '' ? text : `${text}; ${unable}`);
}
