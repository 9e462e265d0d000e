import type { PodConfig } from '../../sandbox/pod-config.ts';
import type { ContainerConfig } from '../container-config.ts';

/** Whose annotations, and which of them the runtime handler may see. */
export interface AnnotationSources {
  readonly sandboxId: string;
  readonly pod: PodConfig;
  readonly container: ContainerConfig;
  /** Names, or prefixes that end in `*`. */
  readonly passedOn: readonly string[];
}

// CVE-2024-3154: these reach through the runtime to systemd, CRIU, other bundles and module loaders, with root's rights.
const controlInput: readonly RegExp[] = [
  /^org\.systemd\.property\./,
  /^run\.oci\./,
  /^org\.criu\.config/,
  /^bundle$/,
  /^module\.wasm\.image\//,
];

/**
 * The annotations of the spec: what sandboxed runtimes need to know of the pod, and those of the request that the handler's
 * configuration lets through, never one that steers the runtime. Labels of images are not among them (CVE-2026-53488).
 */
export function buildAnnotations({
  sandboxId,
  pod,
  container,
  passedOn,
}: AnnotationSources): Record<string, string> {
  const requested = Object.entries({ ...pod.annotations, ...container.annotations });
  const passed = requested.filter(([name]) => !isControlInput(name) && isPassedOn(name, passedOn));
  return {
    ...Object.fromEntries(passed),
    'io.kubernetes.cri.container-name': container.metadata.name,
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.image-name': container.image.userSpecified ?? container.image.reference,
    'io.kubernetes.cri.sandbox-id': sandboxId,
    'io.kubernetes.cri.sandbox-name': pod.metadata.name,
    'io.kubernetes.cri.sandbox-namespace': pod.metadata.namespace,
    'io.kubernetes.cri.sandbox-uid': pod.metadata.uid,
  };
}

/** True for an annotation that steers the runtime. */
export function isControlInput(name: string): boolean {
  return controlInput.some((pattern) => pattern.test(name));
}

function isPassedOn(name: string, passedOn: readonly string[]): boolean {
  return passedOn.some((entry) =>
    entry.endsWith('*') ? name.startsWith(entry.slice(0, -1)) : name === entry,
  );
}
