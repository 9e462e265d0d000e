/** The engine's own AppArmor profile: what containers are confined by when nobody asks for another one. */
import { EngineError, messageOf } from '../../lib/errors.ts';
import { runCommand } from '../../linux/command.ts';
import { defaultApparmorProfile } from './apparmor.ts';

/**
 * The profile's text. Everything is allowed that other mechanisms do not forbid, but for the places where root in a container
 * could reach the node: mounting, and writing what /proc and /sys have outside of processes, shared memory and cgroups.
 */
export function defaultApparmorProfileText(): string {
  return [
    'include if exists <tunables/global>',
    '',
    `profile ${defaultApparmorProfile} flags=(attach_disconnected,mediate_deleted) {`,
    '  include if exists <abstractions/base>',
    ...allowed.map((rule) => `  ${rule},`),
    ...forbidden.map((rule) => `  deny ${rule},`),
    '}',
    '',
  ].join('\n');
}

const allowed: readonly string[] = [
  'network',
  'capability',
  'file',
  'umount',
  // Of the node's processes, whichever profile the distribution has for them, and among the container's own.
  'signal (receive) peer=unconfined',
  'signal (receive) peer=crun',
  'signal (receive) peer=runc',
  `signal (send, receive) peer=${defaultApparmorProfile}`,
  `ptrace (trace, read, tracedby, readby) peer=${defaultApparmorProfile}`,
];

const forbidden: readonly string[] = [
  'mount',
  '/proc/* w',
  '/proc/sysrq-trigger rwklx',
  '/proc/kcore rwklx',
  // Processes have numbers; `self` and `thread-self` are links to them.
  '/proc/[^1-9s]*/** w',
  '/proc/s[^y]*/** w',
  '/proc/sy[^s]*/** w',
  '/proc/sys[^/]*/** w',
  ...allBut('/proc/sys', 'kernel').map((path) => `${path}** w`),
  ...allBut('/proc/sys/kernel', 'shm').map((path) => `${path}** w`),
  ...allBut('/sys', 'fs').map((path) => `${path}*/** wklx`),
  ...allBut('/sys/fs', 'cgroup').map((path) => `${path}*/** wklx`),
  '/sys/firmware/** rwklx',
  // GHSA-7ww5-4wqc-m92c, GHSA-jq35-85cj-fj4p
  '/sys/devices/virtual/powercap/** rwklx',
  '/sys/kernel/security/** rwklx',
];

/** Patterns for the names in a directory that do not begin with a word: AppArmor cannot say "not" but of one character. */
function allBut(directory: string, word: string): string[] {
  return word.split('').map((letter, index) => `${directory}/${word.slice(0, index)}[^${letter}]`);
}

/**
 * Loads the profile into the kernel, in place of an earlier version of it.
 *
 * @throws EngineError unavailable when the parser is missing or refuses it
 */
export async function loadDefaultApparmorProfile(signal?: AbortSignal): Promise<void> {
  try {
    const options = { input: defaultApparmorProfileText(), check: true, signal };
    await runCommand(['apparmor_parser', '--skip-cache', '--replace'], options);
  } catch (error) {
    throw new EngineError(
      'unavailable',
      `load AppArmor profile ${defaultApparmorProfile}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}
