/** The doctor: looks at this host and says what it has, what it lacks and what to do. Changes nothing, needs no daemon. */
import { examineCheckpoints } from './checkpoints.ts';
import type { Finding } from './finding.ts';
import { readHostFacts } from './host-facts.ts';
import { judgeCgroups, judgeLimits, judgeNetworkSettings, judgeStorage } from './judge-host.ts';
import { judgeKernel } from './judge-kernel.ts';
import { judgePrograms, programNames } from './judge-programs.ts';
import {
  judgeNetworkConfiguration,
  readNetworkConfiguration,
  type NetworkDirectories,
} from './network-configuration.ts';
import { readProgramFacts } from './program-facts.ts';

export interface ExamineOptions extends NetworkDirectories {
  /** The daemon's `root`, such as /var/lib/gantry. */
  readonly dataDirectory: string;
}

/** Everything but the daemon itself. */
export async function examineHost(options: ExamineOptions): Promise<Finding[]> {
  const facts = readHostFacts(options.dataDirectory);
  const [programs, network] = await Promise.all([
    readProgramFacts(programNames),
    readNetworkConfiguration(options),
  ]);
  return [
    ...judgeKernel(facts),
    ...judgeCgroups(facts),
    ...judgeLimits(facts),
    ...judgeStorage(facts.storage),
    ...judgeNetworkSettings(facts),
    ...judgeNetworkConfiguration(network),
    ...judgePrograms(programs),
    await examineCheckpoints(programs),
  ];
}
