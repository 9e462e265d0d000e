import type { ProcessSpec } from '../../oci/spec-types.ts';
import { apparmorProfile } from './apparmor.ts';
import { buildCapabilities } from './capabilities.ts';
import { cleanPath } from './clean-path.ts';
import { buildEnv } from './environment.ts';
import { invalidField } from './invalid-field.ts';
import { buildOomScoreAdj } from './oom-score.ts';
import { buildRlimits } from './rlimits.ts';
import { selinuxLabels } from './selinux.ts';
import type { SpecInput } from './spec-input.ts';

/** The container's first process. @throws EngineError invalid-argument, failed-precondition */
export function buildProcess(input: SpecInput): ProcessSpec {
  const { container, host, user } = input;
  const { security, resources } = container.linux;
  const profile = apparmorProfile(security, {
    enabled: host.apparmorEnabled,
    loaded: input.loadedApparmorProfiles,
  });
  const labels = selinuxLabels(security, input.pod.security, host.selinuxEnabled);
  return {
    ...(container.tty ? { terminal: true } : {}),
    user: {
      uid: user.uid,
      gid: user.gid,
      // The daemon's own mask is 0077: it must not reach the container.
      umask: 0o022,
      additionalGids: mergeGroups(user.supplementalGroups, input.cdi?.additionalGids ?? []),
    },
    args: buildArgs(input),
    env: [...buildEnv(envSources(input)), ...(input.cdi?.env ?? [])],
    cwd: buildCwd(input),
    capabilities: buildCapabilities(security, host),
    rlimits: buildRlimits(input.defaults, host),
    noNewPrivileges: security.noNewPrivileges,
    ...(profile === undefined ? {} : { apparmorProfile: profile }),
    ...(labels === undefined ? {} : { selinuxLabel: labels.process }),
    oomScoreAdj: buildOomScoreAdj(resources.oomScoreAdj, host),
  };
}

function envSources({ pod, container, host, user, imageConfig }: SpecInput) {
  return {
    hostname: pod.hostname ?? host.hostname,
    tty: container.tty,
    image: imageConfig.env,
    request: container.env,
    home: user.home,
  };
}

function mergeGroups(groups: readonly number[], more: readonly number[]): number[] {
  return [...new Set([...groups, ...more])];
}

/**
 * The argument vector. A command of the request takes the place of the image's entrypoint and silences its cmd; arguments
 * of the request take the place of the cmd.
 */
function buildArgs({ container, imageConfig }: SpecInput): string[] {
  const args = [...container.command];
  if (args.length === 0) {
    // `ENTRYPOINT [""]` is how an image says that it wants none.
    const { entrypoint } = imageConfig;
    if (entrypoint.length !== 1 || entrypoint[0] !== '') args.push(...entrypoint);
    args.push(...(container.args.length > 0 ? container.args : imageConfig.cmd));
  } else {
    args.push(...container.args);
  }
  checkArgs(args);
  return args;
}

/** Refuses what execve cannot take. @throws EngineError invalid-argument */
export function checkArgs(args: readonly string[]): void {
  if (args.length === 0) {
    throw invalidField('command', 'no command specified: the request has none and neither does the image');
  }
  if (args[0] === '') throw invalidField('command', 'the program to run is empty');
  const bad = args.findIndex((arg) => arg.includes('\0'));
  if (bad !== -1) throw invalidField('command', `argument ${bad} holds a NUL character`);
}

/**
 * The working directory. CVE-2024-21626: one below /proc (or /dev/fd, a link into it) can be a directory of the host that
 * the runtime has open.
 */
function buildCwd({ container, imageConfig }: SpecInput): string {
  const fromImage = imageConfig.workingDir === '' ? '/' : imageConfig.workingDir;
  const [field, wanted] =
    container.workingDir === undefined
      ? ['the image’s WorkingDir', fromImage]
      : ['working_dir', container.workingDir];
  const cwd = cleanPath(wanted, field);
  if (/^\/(?:proc|dev\/fd)(?:\/|$)/.test(cwd)) {
    throw invalidField(
      field,
      `${JSON.stringify(cwd)} is below /proc, where a descriptor of the host could be reached`,
    );
  }
  return cwd;
}
