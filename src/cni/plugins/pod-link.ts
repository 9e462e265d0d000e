/** Work inside a pod's network namespace that the plugins share: opening it, and whether it is there at all. */
import { EngineError, errnoOf, isKind } from '../../lib/errors.ts';
import { RouteSocket } from '../../linux/netlink/socket.ts';
import type { PluginDeps, PluginRequest } from '../plugin-types.ts';

/** The path of the pod's namespace. @throws EngineError invalid-argument when the request has none */
export function requireNetns(request: PluginRequest): string {
  if (request.netnsPath !== undefined) return request.netnsPath;
  throw new EngineError('invalid-argument', `${request.containerId}: no network namespace is given`);
}

/** A socket inside the namespace; the caller disposes it. */
export async function openPod(deps: PluginDeps, netnsPath: string): Promise<RouteSocket> {
  return RouteSocket.fromFd(await deps.openNetlink(netnsPath));
}

/** As openPod; undefined when the namespace is gone, whether or not its path is still there. */
export async function openPodIfThere(
  deps: PluginDeps,
  netnsPath: string | undefined,
): Promise<RouteSocket | undefined> {
  if (netnsPath === undefined || netnsPath === '') return undefined;
  try {
    return await openPod(deps, netnsPath);
  } catch (error) {
    // EINVAL: the file of a pin whose mount did not survive.
    const code = errnoOf(error) ?? errnoOf(error instanceof Error ? error.cause : undefined);
    if (code === 'ENOENT' || code === 'EINVAL' || isKind(error, 'not-found')) return undefined;
    throw error;
  }
}
