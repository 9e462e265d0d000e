/** What CRIU's images say of processes, held against what the request allows: identities, capabilities, seccomp, priority, namespaces. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NamespaceType, Spec } from '../../oci/spec-types.ts';
import { knownCapabilities } from '../spec/capabilities.ts';
import {
  type Message,
  messageIn,
  numberOf,
  numbersOf,
  readImage,
  signedOf,
  zigzagOf,
} from './criu-images.ts';
import { tooMuch } from './too-much.ts';

/** Field numbers of CRIU's images/core.proto, creds.proto and inventory.proto. */
const core = { task: 3, thread: 5 } as const;
const task = { oomScoreAdj: 14 } as const;
const thread = { nice: 3, policy: 4, credentials: 10, seccompMode: 11 } as const;
const credentials = { users: [1, 3, 5, 7], noNewPrivileges: 18 } as const;
const capabilitySets = { inheritable: 9, permitted: 10, effective: 11, bounding: 12, ambient: 19 } as const;
const inventory = { rootIds: 3 } as const;
const namespaces: readonly (readonly [NamespaceType, number])[] = [
  ['pid', 5],
  ['network', 6],
  ['ipc', 7],
  ['uts', 8],
  ['mount', 9],
];
const seccompFilter = 2;
/** SCHED_OTHER, SCHED_BATCH and SCHED_IDLE: what nobody needs a right for. */
const ordinaryPolicies: ReadonlySet<number> = new Set([0, 3, 5]);
const SCHED_RESET_ON_FORK = 0x4000_0000;

/** Every thread of every process. @throws EngineError permission-denied naming what is too much, data-loss */
export async function vetProcesses(spec: Spec, directory: string, files: readonly string[]): Promise<void> {
  const cores = files.filter((name) => /^core-\d+\.img$/.test(name));
  if (cores.length === 0) throw tooMuch('it has no process');
  for (const name of cores) {
    const [entry] = readImage(directory, name);
    if (entry === undefined) throw tooMuch(`${name} is empty`);
    const ofThread = messageIn(entry, core.thread);
    vetThread(spec, ofThread);
    vetPriority(spec, ofThread);
    // Only the first thread of a process has what belongs to all of them.
    if (entry.has(core.task)) vetTask(spec, messageIn(entry, core.task));
    // There may be very many: nothing else of the daemon waits for all of them.
    await nextTurn();
  }
  await vetNamespaces(spec, directory, files);
}

function vetThread({ process, linux }: Spec, message: Message): void {
  const creds = messageIn(message, thread.credentials);
  // Without its own word CRIU would leave a thread with the rights that CRIU has.
  if (creds.size === 0) throw tooMuch('a process has no credentials');
  const given = process.capabilities ?? {};
  const allowed = { ...given, inheritable: given.permitted, effective: given.permitted };
  for (const [set, field] of Object.entries(capabilitySets))
    vetCapabilities(set, numbersOf(creds, field), allowed[set as keyof typeof capabilitySets] ?? []);
  if (process.user.uid !== 0 && credentials.users.some((field) => numberOf(creds, field) === 0))
    throw tooMuch(`a process runs as root, the request is for user ${process.user.uid}`);
  if (process.noNewPrivileges === true && numberOf(creds, credentials.noNewPrivileges) !== 1)
    throw tooMuch('a process can gain privileges, which the request forbids');
  if (linux.seccomp !== undefined && numberOf(message, thread.seccompMode) !== seccompFilter)
    throw tooMuch('a process has no seccomp filter, which the request asks for');
}

/** A process without CAP_SYS_NICE cannot go before others by itself. */
function vetPriority({ process }: Spec, message: Message): void {
  if (process.capabilities?.permitted?.includes('CAP_SYS_NICE') === true) return;
  const lowest = Math.min(process.scheduler?.nice ?? 0, 0);
  const nice = zigzagOf(message, thread.nice);
  if (nice < lowest) throw tooMuch(`a process has the nice value ${nice}, below the request's ${lowest}`);
  const policy = (numberOf(message, thread.policy) & ~SCHED_RESET_ON_FORK) >>> 0;
  if (!ordinaryPolicies.has(policy))
    throw tooMuch(`a process has the scheduling policy ${policy}, which the request does not give`);
}

function vetCapabilities(set: string, words: readonly number[], allowed: readonly string[]): void {
  for (const [index, word] of words.entries())
    for (let bit = 0; bit < 32; bit += 1) {
      if (((word >>> bit) & 1) === 0) continue;
      const name = knownCapabilities[index * 32 + bit] ?? `capability ${index * 32 + bit}`;
      if (!allowed.includes(name))
        throw tooMuch(`a process has ${name} (${set}), which the request does not give`);
    }
}

function vetTask({ process }: Spec, message: Message): void {
  const score = signedOf(message, task.oomScoreAdj);
  const lowest = process.oomScoreAdj ?? 0;
  // Without a word it would keep what CRIU has.
  if (score === undefined) throw tooMuch('it says not which oom_score_adj a process has');
  if (score < lowest)
    throw tooMuch(`a process has the oom_score_adj ${score}, below the request's ${lowest}`);
}

/** A process whose namespace is CRIU's own would be restored into the node's. */
async function vetNamespaces({ linux }: Spec, directory: string, files: readonly string[]): Promise<void> {
  const [root] = readImage(directory, 'inventory.img');
  const own = messageIn(root ?? new Map(), inventory.rootIds);
  const ids = files.filter((name) => /^ids-\d+\.img$/.test(name));
  if (own.size === 0 || ids.length === 0)
    throw tooMuch('it does not say which namespaces its processes have');
  for (const name of ids) {
    const [entry] = readImage(directory, name);
    for (const [type, field] of namespaces) {
      const isApart = linux.namespaces.some((namespace) => namespace.type === type);
      const id = numberOf(entry ?? new Map(), field);
      if (isApart && (id === 0 || id === numberOf(own, field)))
        throw tooMuch(`a process is in the ${type} namespace of the node`);
    }
    await nextTurn();
  }
}
