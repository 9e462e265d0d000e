/** What a request is about, for its trace: read from the message, names looked up in the stores. */
import type { Container } from '../containers/container.ts';
import { canonicalString, parseReference } from '../images/reference.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Subject } from '../telemetry/traces/trace.ts';

/** Gives what is here by its id or a prefix of it. */
export interface SubjectStores {
  readonly sandboxes: { find(id: string): Sandbox | undefined };
  readonly containers: { find(id: string): Container | undefined };
}

/** The fields that requests and answers of the CRI share by name. */
interface Message {
  readonly podSandboxId?: string;
  readonly containerId?: string;
  /** Of a pod or of a container. */
  readonly config?: { readonly metadata?: { readonly name: string; readonly namespace?: string } };
  readonly image?: { readonly image: string };
}

/** Reads a request before it is worked on: what it removes is not there afterwards. Never throws. */
export function subjectOfRequest(stores: SubjectStores, request: Message): Subject {
  const { podSandboxId = '', containerId = '', config, image } = request;
  const metadata = config?.metadata;
  return {
    ...(metadata?.namespace === undefined
      ? podSubject(stores, podSandboxId)
      : { podName: metadata.name, podNamespace: metadata.namespace }),
    ...(metadata !== undefined && metadata.namespace === undefined ? { containerName: metadata.name } : {}),
    ...containerSubject(stores, containerId),
    ...(image === undefined ? {} : imageSubject(image.image)),
  };
}

/** What the answer adds: the id of what was made. */
export function subjectOfAnswer({ podSandboxId, containerId }: Message): Subject {
  return {
    ...(podSandboxId === undefined ? {} : { podId: podSandboxId }),
    ...(containerId === undefined ? {} : { containerId }),
  };
}

function podSubject({ sandboxes }: SubjectStores, text: string): Subject {
  const sandbox = found(sandboxes, text);
  if (sandbox === undefined) return {};
  const { name, namespace } = sandbox.config.metadata;
  return { podId: sandbox.id, podName: name, podNamespace: namespace };
}

function containerSubject(stores: SubjectStores, text: string): Subject {
  const container = found(stores.containers, text);
  if (container === undefined) return {};
  const { id, sandboxId, config } = container;
  return { ...podSubject(stores, sandboxId), containerId: id, containerName: config.metadata.name };
}

/** Only what is a reference: users paste passwords into anything else. */
function imageSubject(text: string): Subject {
  try {
    return { image: canonicalString(parseReference(text)) };
  } catch {
    return {};
  }
}

function found<T>(store: { find(id: string): T | undefined }, text: string): T | undefined {
  if (text === '') return undefined;
  try {
    return store.find(text);
  } catch {
    // An ambiguous prefix: the request itself says so.
    return undefined;
  }
}
