/** Names and values of kernel parameters that belong to a namespace. They come from users and become paths. */
import { EngineError, errnoOf } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/** The namespaces that a pod without a user namespace has of its own. */
export type NamespaceKind = 'net' | 'ipc' | 'uts';

const partPattern = /^[a-z0-9_.-]+$/;
const maxValueLength = 4096;
const ipcNames = /^kernel\.(?:shm[a-z_]*|msg[a-z_]*|sem|sem_next_id|auto_msgmni)$/;

/** A parameter and its value, both checked, and the namespace that they belong to. */
export interface Sysctl {
  /** In the dotted form. */
  readonly name: string;
  readonly path: string;
  readonly value: string;
  readonly kind: NamespaceKind;
}

/**
 * Checks a parameter as sysctl(8) and Kubernetes write it: `net.ipv4.ip_forward` or `net/ipv4/ip_forward` (where the first separator is a slash,
 * dots belong to the parts: `net/ipv4/conf/eth0.100/forwarding`).
 * Throws EngineError invalid-argument for what is not a name, not a value, or not of a namespace: CVE-2022-0811 was a name and
 * a value taken as they came, which set a parameter of the host.
 */
export function parseSysctl(text: string, value: string): Sysctl {
  const dotted = text.search(/[./]/) === -1 || text[text.search(/[./]/)] === '.';
  const parts = (dotted ? swapSeparators(text) : text).split('/');
  if (text.length > 256 || parts.some((part) => !partPattern.test(part) || part === '.' || part === '..')) {
    throw new EngineError('invalid-argument', `${quote(text)} is not the name of a sysctl`);
  }
  const path = parts.join('/');
  const name = swapSeparators(path);
  if (value.length > maxValueLength || /\p{Cc}/u.test(value.replaceAll('\t', ' '))) {
    throw new EngineError('invalid-argument', `sysctl ${name}: ${quote(value)} is not a value`);
  }
  const kind = kindOf(name);
  if (kind === undefined) {
    throw new EngineError('invalid-argument', `sysctl ${name} does not belong to a namespace of the pod`);
  }
  return { name, path: `/proc/sys/${path}`, value, kind };
}

/**
 * Whether a parameter was not set for want of it, as on a kernel without IPv6, or because /proc/sys is read-only, as in a container: it has its
 * value then, or not.
 */
export function isAbsentOrReadOnly(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'EROFS';
}

function kindOf(name: string): NamespaceKind | undefined {
  if (name.startsWith('net.')) return 'net';
  if (name.startsWith('fs.mqueue.') || ipcNames.test(name)) return 'ipc';
  if (name === 'kernel.hostname' || name === 'kernel.domainname') return 'uts';
  return undefined;
}

function swapSeparators(text: string): string {
  return text.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
}
