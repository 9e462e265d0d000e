/** Everything that the pure spec builder must be told, looked up: user, devices, profiles, the sandbox's files. */
import { readFileSync } from 'node:fs';
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';
import { processStartTicks } from '../linux/pidfd.ts';
import { readFileInRoot } from '../linux/read-in-root.ts';
import { sandboxPaths, type Sandbox } from '../sandbox/sandbox.ts';
import type { ContainerConfig } from './container-config.ts';
import { processesOf, type ContainerStore } from './container.ts';
import type { ContainerDeps, SpecRequest } from './deps.ts';
import { readBounded } from './host-files.ts';
import { allHostDevices, deviceAt, grantedDevices } from './host-devices.ts';
import { parseLoadedProfiles } from './spec/apparmor.ts';
import { buildSpec } from './spec/build-spec.ts';
import { requestedCdiDevices, resolveCdi, type CdiEdits } from './spec/cdi.ts';
import type { HostFacts } from './spec/host-facts.ts';
import { invalidField } from './spec/invalid-field.ts';
import { maxSeccompProfileBytes } from './spec/seccomp-profile.ts';
import type { SandboxParts, SpecDefaults } from './spec/spec-input.ts';
import { resolveUser } from './users/resolve-user.ts';

export interface PrepareSpecDeps {
  readonly containers: ContainerStore;
  readonly stateDirectory: string;
  readonly host: HostFacts;
  /** What the runtime of a handler is: `crun`, `runc` or `other`. */
  readonly runtimeKind: (handler: string) => string;
  readonly defaults: SpecDefaults;
}

const apparmorProfiles = '/sys/kernel/security/apparmor/profiles';
/** Later ones win over earlier ones (CDI specification, "Overview"). */
const cdiDirectories = ['/etc/cdi', '/var/run/cdi'];

export function createSpecBuilder(deps: PrepareSpecDeps): ContainerDeps['spec'] {
  return {
    async build(request) {
      const { config, image, rootfs } = request;
      const { security } = config.linux;
      const user = resolveUser({ readFileInRoot }, { rootfs, imageUser: image.config.user, security });
      const cdi = await lookUpCdi(requestedCdiDevices(config.cdiDevices, config.annotations));
      const targetNamespaces = targetOf(deps, request);
      const seccompProfile = localhostSeccomp(config);
      const spec = buildSpec({
        pod: request.sandbox.config,
        container: config,
        imageConfig: image.config,
        user,
        host: { ...deps.host, runtimeName: deps.runtimeKind(request.sandbox.runtimeHandler) },
        defaults: deps.defaults,
        sandbox: sandboxParts(deps.stateDirectory, request.sandbox),
        rootfs,
        cgroupsPath: request.cgroupsPath,
        mounts: request.mounts,
        volumes: request.volumes,
        devices: grantedDevices(config.devices),
        hostDevices: security.privileged ? allHostDevices() : [],
        loadedApparmorProfiles: loadedProfiles(deps.host),
        ...(targetNamespaces === undefined ? {} : { targetNamespaces }),
        ...(seccompProfile === undefined ? {} : { seccompProfile }),
        ...(cdi === undefined ? {} : { cdi }),
      });
      const { uid, gid, supplementalGroups } = user;
      return { spec, user: { uid, gid, supplementalGroups } };
    },
  };
}

function sandboxParts(stateDirectory: string, sandbox: Sandbox): SandboxParts {
  const paths = sandboxPaths(stateDirectory, sandbox.id);
  const namespaces = sandbox.state.name === 'ready' ? sandbox.state.namespaces : {};
  return {
    id: sandbox.id,
    namespaces,
    files: {
      ...(sandbox.config.namespaces.ipc.mode === 'node' ? {} : { shm: paths.shm }),
      hosts: paths.hosts,
      hostname: paths.hostname,
      resolvConf: paths.resolvConf,
    },
  };
}

/** `/proc/PID/ns` of the container whose namespaces are joined (`kubectl debug --target`). */
function targetOf({ containers }: PrepareSpecDeps, { config, sandbox }: SpecRequest): string | undefined {
  const { network, pid, ipc } = config.linux.security.namespaces;
  const targets = [network, pid, ipc].flatMap((choice) =>
    choice.mode === 'target' ? [choice.targetId] : [],
  );
  const [targetId] = targets;
  if (targetId === undefined) return undefined;
  if (targets.some((other) => other !== targetId))
    throw invalidField('namespace_options.target_id', 'all namespaces are those of one target container');
  const target = containers.mustFind(targetId);
  if (target.sandboxId !== sandbox.id)
    throw new EngineError('invalid-argument', `target container ${target.id} is in another pod`);
  const processes = target.state.name === 'running' ? processesOf(target) : undefined;
  if (processes === undefined)
    throw new EngineError(
      'failed-precondition',
      `target container ${target.id} is ${target.state.name}, not running`,
    );
  const first = processes.process;
  // Its end may not be recorded yet, and its pid another process's already: the node's namespaces would be joined.
  if (processStartTicks(first.pid) !== BigInt(first.startTicks))
    throw new EngineError('failed-precondition', `target container ${target.id} has ended`);
  return `/proc/${first.pid}/ns`;
}

function localhostSeccomp({ linux }: ContainerConfig): string | undefined {
  const { seccomp, privileged } = linux.security;
  if (privileged || seccomp?.type !== 'localhost') return undefined;
  // Some clients repeat the type in the reference, as the deprecated field had it.
  const path = seccomp.ref.replace(/^localhost\//, '');
  if (!path.startsWith('/'))
    throw invalidField('seccomp.localhost_ref', `${quote(seccomp.ref)} is not an absolute path`);
  return readBounded(path, maxSeccompProfileBytes, 'seccomp profile');
}

function loadedProfiles(host: HostFacts): ReadonlySet<string> {
  return host.apparmorEnabled ? parseLoadedProfiles(readFileSync(apparmorProfiles, 'utf8')) : new Set();
}

/** What the named CDI devices add; undefined for none. @throws EngineError invalid-argument, failed-precondition */
export async function lookUpCdi(names: readonly string[]): Promise<CdiEdits | undefined> {
  if (names.length === 0) return undefined;
  // Most nodes have no such device: the parser of YAML is loaded where one has.
  const { readCdiSpecs } = await import('./cdi-files.ts');
  const { specs, failures } = readCdiSpecs(cdiDirectories);
  try {
    return await resolveCdi(specs, names, async (path) => deviceAt(path));
  } catch (error) {
    if (failures.length === 0 || !(error instanceof EngineError)) throw error;
    throw new EngineError(error.kind, `${error.message} (${failures.join('; ')})`, { cause: error });
  }
}
