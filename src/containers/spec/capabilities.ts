import type { Capabilities } from '../../oci/spec-types.ts';
import type { ContainerSecurity } from '../container-config.ts';
import type { HostFacts } from './host-facts.ts';
import { invalidField } from './invalid-field.ts';

/** Every capability of Linux in the kernel's order (capabilities(7)); results keep this order. */
export const knownCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

// What Kubernetes workloads take for granted when they ask for nothing.
const defaultCapabilities: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/**
 * The capability sets of a container. `ALL` counts first, in either list, then the single names: add, then drop.
 * What the host's bounding set lacks is left out, since the kernel would refuse it. The inheritable set is empty
 * (CVE-2022-24769) but for ambient capabilities that were asked for, which the kernel ties to it.
 *
 * @throws EngineError invalid-argument for an unknown name to add; one to drop is not held in any case
 */
export function buildCapabilities(security: ContainerSecurity, host: HostFacts): Capabilities {
  const granted = security.privileged ? new Set(host.capabilities) : grantedByRequest(security, host);
  const held = knownCapabilities.filter((name) => granted.has(name) && host.capabilities.includes(name));
  const wanted = security.capabilities.addAmbient.map((name) =>
    canonicalName(name, 'capabilities.add_ambient_capabilities'),
  );
  const ambient = held.filter((name) => wanted.includes(name) || wanted.includes('ALL'));
  return { bounding: held, effective: held, permitted: held, inheritable: ambient, ambient };
}

function grantedByRequest({ capabilities }: ContainerSecurity, host: HostFacts): Set<string> {
  const add = capabilities.add.map((name) => canonicalName(name, 'capabilities.add_capabilities'));
  const drop = capabilities.drop.map((name) => withPrefix(name));
  const granted = new Set(add.includes('ALL') ? host.capabilities : defaultCapabilities);
  if (drop.includes('ALL')) granted.clear();
  for (const name of add) granted.add(name);
  for (const name of drop) granted.delete(name);
  return granted;
}

function canonicalName(name: string, field: string): string {
  const canonical = withPrefix(name);
  if (canonical !== 'ALL' && !knownCapabilities.includes(canonical)) {
    throw invalidField(field, `${JSON.stringify(name)} is not a capability`);
  }
  return canonical;
}

function withPrefix(name: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL' || upper === 'CAP_ALL') return 'ALL';
  return upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
}
