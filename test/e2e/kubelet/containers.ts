/** Containers of static pods. */

type More = Readonly<Record<string, unknown>>;

/** A container of a pod's specification. */
export type ContainerSpec = More & { readonly name: string };

/** A container that runs this shell script. */
export function script(image: string, name: string, text: string, more: More = {}): ContainerSpec {
  return { name, image, command: ['sh', '-c', text], ...more };
}

/** A container that does nothing, and ends at once when it is told to. */
export function idler(image: string, name: string, more: More = {}): ContainerSpec {
  return script(image, name, 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done', more);
}
