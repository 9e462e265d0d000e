/** The pods' networks, on the kernel of this host. */
import { writeFileSync } from 'node:fs';
import type { Config } from '../config-schema.ts';
import { createInProcessPlugins } from '../cni/plugins/in-process-plugins.ts';
import type { NamespaceThread } from '../linux/namespace-thread.ts';
import { RouteSocket } from '../linux/netlink/socket.ts';
import type { Poller } from '../linux/poll.ts';
import { openNetworks, type Networks } from '../networks/networks.ts';
import type { Log } from '../telemetry/log.ts';

/** Everything it opens is put on `stack`. */
export async function startNetworks(
  config: Config['cni'],
  { thread, poller }: { readonly thread: NamespaceThread; readonly poller: Poller },
  stack: AsyncDisposableStack,
  log: Log,
): Promise<Networks> {
  const route = stack.use(RouteSocket.open());
  const networks = await openNetworks({
    plugins: createInProcessPlugins(),
    pluginDeps: {
      route,
      poller,
      openNetlink: async (netnsPath) => await thread.openNetlink(netnsPath),
      writeSysctl: (name, value) => writeFileSync(`/proc/sys/${name}`, value),
      writePodSysctls: async (netnsPath, values) => await thread.writeSysctls(netnsPath, values),
      dataDir: `${config.cache_dir}/networks`,
    },
    confDir: config.conf_dir,
    binDirs: config.bin_dirs,
    cacheDir: config.cache_dir,
    ...(config.conf_template === '' ? {} : { templatePath: config.conf_template }),
    defaultSubnets: config.default_subnet,
    log,
  });
  return stack.use(networks);
}
