/** How an element of an nftables set says whose it is: sixty-four digits of a container's id leave little of nft's 128 bytes. */
import { createHash } from 'node:crypto';

const maxNetworkChars = 32;
const maxLabelChars = 120;

/** `<container id>/<interface>@<network>`; the parts are cut to digests where they would be too long. */
export function ownerLabel(network: string, containerId: string, ifName: string): string {
  const label = `${containerId}/${ifName}${networkSuffix(network)}`;
  if (label.length <= maxLabelChars) return label;
  return `${digestOwner(containerId)}/${ifName}${networkSuffix(network)}`;
}

/** How the labels of a network's attachments end. */
export function networkSuffix(network: string): string {
  return `@${network.length <= maxNetworkChars ? network : `sha256-${digest(network)}`}`;
}

/** Says whether a label is of one of the containers, on whatever network. */
export function isLabelOfAny(containerIds: Iterable<string>): (label: string) => boolean {
  const owners = new Set([...containerIds].flatMap((id) => [id, digestOwner(id)]));
  return (label) => owners.has(label.split('/')[0] ?? '');
}

function digestOwner(containerId: string): string {
  return `sha256-${digest(containerId)}`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
