/** `lo` of a pod, up. */
import { EngineError } from '../../lib/errors.ts';
import { formatPrefix, type IpPrefix } from '../../lib/ip-address.ts';
import { listAddresses } from '../../linux/netlink/addresses.ts';
import { getLink, setLink } from '../../linux/netlink/links.ts';
import type { Link } from '../../linux/netlink/link-message.ts';
import type { RouteSocket } from '../../linux/netlink/socket.ts';
import type { CniResult, InProcessPlugin, PluginDeps, PluginRequest } from '../plugin-types.ts';
import { unknownKey } from './config-keys.ts';
import { openPod, openPodIfThere, requireNetns } from './pod-link.ts';

export class LoopbackPlugin implements InProcessPlugin {
  readonly type = 'loopback';

  supports(config: Readonly<Record<string, unknown>>): string | undefined {
    return unknownKey(config, new Set());
  }

  /** Whatever the interface is called in the request, it is `lo`. A result before this one is passed on. */
  async add(deps: PluginDeps, request: PluginRequest): Promise<CniResult> {
    const sandbox = requireNetns(request);
    using pod = await openPod(deps, sandbox);
    const link = await requireLoopback(pod);
    await setLink(pod, { index: link.index, up: true });
    if (request.prevResult !== undefined) return request.prevResult;
    const listed = await listAddresses(pod, { index: link.index });
    const addresses = listed.map(({ address }) => address);
    const stranger = addresses.find((address) => !isLoopback(address));
    if (stranger !== undefined) {
      const text = `lo has the address ${formatPrefix(stranger)}, which is no loopback address`;
      throw new EngineError('failed-precondition', text);
    }
    const perFamily = ([4, 6] as const).flatMap((family) =>
      addresses.filter(({ address }) => address.family === family).slice(0, 1),
    );
    return {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox }],
      ips: perFamily.map((address) => ({ interface: 0, address: formatPrefix(address) })),
      routes: [],
      dns: {},
    };
  }

  async del(deps: PluginDeps, request: PluginRequest): Promise<void> {
    using pod = await openPodIfThere(deps, request.netnsPath);
    if (pod !== undefined) await setLink(pod, { index: (await requireLoopback(pod)).index, up: false });
  }

  async check(deps: PluginDeps, request: PluginRequest): Promise<void> {
    using pod = await openPod(deps, requireNetns(request));
    if (!(await requireLoopback(pod)).isUp) throw new EngineError('failed-precondition', 'lo is down');
  }
}

async function requireLoopback(pod: RouteSocket): Promise<Link> {
  const link = await getLink(pod, 'lo');
  if (link === undefined) throw new EngineError('internal', 'the network namespace has no lo');
  return link;
}

function isLoopback({ address }: IpPrefix): boolean {
  return address.family === 4 ? address.value >> 24n === 127n : address.value === 1n;
}
