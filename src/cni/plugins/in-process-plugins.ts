/** The plugins that nearly every node uses, without their programs. */
import type { InProcessPlugin } from '../plugin-types.ts';
import { BridgePlugin } from './bridge.ts';
import { HostLocalPlugin } from './host-local.ts';
import { LoopbackPlugin } from './loopback.ts';
import { PortmapPlugin } from './portmap.ts';

/** One set a daemon: they hold the locks that keep concurrent attachments apart. IPAM is called by the bridge alone. */
export function createInProcessPlugins(): InProcessPlugin[] {
  return [new LoopbackPlugin(), new BridgePlugin(new HostLocalPlugin()), new PortmapPlugin()];
}
