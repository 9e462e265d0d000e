/** The host's place in a VLAN of a bridge: a VLAN link on the bridge itself, which has the gateway's addresses. */
import { EngineError } from '../../lib/errors.ts';
import { addBridgeVlan } from '../../linux/netlink/bridge-vlans.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import { createVlan, getLink, setLink } from '../../linux/netlink/links.ts';
import type { PluginDeps } from '../plugin-types.ts';
import type { BridgeConfig } from './bridge-config.ts';
import { writeOptionalSysctl } from './bridge-host.ts';
import { makeLink } from './made-links.ts';

/**
 * The link, made (and recorded as ours) if it is not there, and up. The standard program makes a veth instead, with one end
 * as a port of the bridge, and that does as well if it is there; but where bridged packets pass by the IP rules too
 * (br_netfilter), a packet on its way to such a port is masqueraded before it has reached the host, and dropped.
 *
 * @throws EngineError failed-precondition when a link of that name leads elsewhere
 */
export async function ensureVlanLink(deps: PluginDeps, config: BridgeConfig, bridge: Link): Promise<Link> {
  const name = vlanLinkName(config);
  if ((await getLink(deps.route, name)) === undefined) {
    await keepMac(deps, bridge);
    try {
      const options = { name, parent: bridge.index, vid: config.vlan };
      await makeLink(deps, name, async () => await createVlan(deps.route, options));
    } catch (error) {
      // Another process may have been faster.
      if ((await getLink(deps.route, name)) === undefined) throw error;
    }
  }
  const link = await getLink(deps.route, name);
  if (link === undefined) throw new EngineError('unavailable', `link ${name} was removed while it was made`);
  if (link.kind === 'vlan' && link.linkIndex === bridge.index)
    await addBridgeVlan(deps.route, bridge.index, config.vlan);
  else if (!(await leadsToPort(deps, link, bridge))) {
    const text = `link ${name} is there already and does not lead to bridge ${bridge.name}`;
    throw new EngineError('failed-precondition', text);
  }
  if (link.isUp) return link;
  writeOptionalSysctl(deps, `net/ipv6/conf/${name}/accept_ra`, '0');
  await setLink(deps.route, { index: link.index, up: true });
  return link;
}

/** The name of the link that has the gateway's addresses on a VLAN. */
export function vlanLinkName(config: BridgeConfig): string {
  return `${config.bridge}.${config.vlan}`;
}

/** The VLAN link's address is the bridge's, which would else change as pods come and go. */
async function keepMac(deps: PluginDeps, { index }: Link): Promise<void> {
  const mac = (await getLink(deps.route, index))?.mac;
  if (mac !== undefined) await setLink(deps.route, { index, mac });
}

async function leadsToPort(deps: PluginDeps, link: Link, bridge: Link): Promise<boolean> {
  if (link.kind !== 'veth' || link.linkIndex === undefined || link.linkNetnsId !== undefined) return false;
  return (await getLink(deps.route, link.linkIndex))?.masterIndex === bridge.index;
}
