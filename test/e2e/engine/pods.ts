/** Pod and container configurations of tests, in camel case: as the gRPC client takes them. */

export type PodSpec = Readonly<Record<string, unknown>> & { readonly metadata: object };

/** A pod of the namespace `e2e`, its logs in /var/log/pods, its cgroup where the engine puts it by itself. */
export function podSpec(name: string, more: Readonly<Record<string, unknown>> = {}): PodSpec {
  return {
    metadata: { name, uid: `uid-${name}`, namespace: 'e2e', attempt: 0 },
    hostname: name,
    logDirectory: `/var/log/pods/e2e_${name}`,
    labels: { app: name },
    annotations: { 'e2e.test/note': `made for ${name}` },
    linux: {},
    ...more,
  };
}

/** A container with its log in `<name>.log` of the pod's directory. */
export function containerSpec(
  name: string,
  image: string,
  more: Readonly<Record<string, unknown>> = {},
): PodSpec {
  return {
    metadata: { name, attempt: 0 },
    image: { image },
    logPath: `${name}.log`,
    labels: { role: name },
    linux: {},
    ...more,
  };
}

/** A container that does nothing until it is told to stop. */
export function idleSpec(name: string, image: string, more: Readonly<Record<string, unknown>> = {}): PodSpec {
  const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done'];
  return containerSpec(name, image, { command, ...more });
}

/** A command for inside a pod that ends when somebody listens on the port. */
export function untilListening(port: number): readonly string[] {
  const inHex = port.toString(16).toUpperCase().padStart(4, '0');
  return ['sh', '-c', `until grep -q ":${inHex} .* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done`];
}
