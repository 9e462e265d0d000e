import { isDirectoryMadeHere, LeaseDirectories } from '../cni/plugins/lease-directory.ts';
import { formatIp } from '../lib/ip-address.ts';

/** An address that host-local gave to a container. */
interface Lease {
  readonly address: string;
  readonly containerId: string;
}

/**
 * Gives back the leases of one network whose container is not known. The host-local program has no GC: an address whose
 * DEL never ran (power loss, a lost record) would be gone for ever. A directory that is empty then goes, if it was made
 * here or `isOurs` says that its name is nobody else's. No ADD or DEL may run meanwhile.
 *
 * @returns the leases that were given back
 */
export async function sweepLeases(
  directory: string,
  isKnown: (containerId: string) => boolean,
  isOurs: boolean,
): Promise<Lease[]> {
  return await new LeaseDirectories().locked(directory, 'existing', (leases) => {
    const unknown = leases?.all().filter(({ owner }) => !isKnown(owner.containerId)) ?? [];
    for (const { address } of unknown) leases?.release(address);
    leases?.discardIfUnused(isOurs ? 'anybodys' : 'ours');
    return unknown.map(({ address, owner }) => ({
      address: formatIp(address),
      containerId: owner.containerId,
    }));
  });
}

/** Takes away a directory that was made here and that a crash left without a lease. */
export async function discardUnused(directory: string): Promise<void> {
  // Asked before it is locked, because locking makes the lock's file.
  if (!isDirectoryMadeHere(directory)) return;
  await new LeaseDirectories().locked(directory, 'existing', (leases) => leases?.discardIfUnused('ours'));
}
