/** `gantry inspect`: all that the daemon knows of one pod, container or image. */
import { Command } from 'commander';
import type { ContainerStatus, PodSandboxStatus } from '../../gen/runtime/v1/api.ts';
import { EngineError, isKind } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import type { Cri } from '../client.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson, parseInfo } from '../json.ts';
import { lookUpAny, readInventory } from '../lookup.ts';
import { imageSpec } from '../pod-of-one.ts';
import { containerStateName, podStateName } from '../states.ts';
import { isoOfNs } from '../units.ts';

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('show everything about a pod, a container or an image, as JSON')
    .argument('<id>', 'name, id or beginning of an id; an image by its reference')
    .addOption(jsonOption().hideHelp())
    .addOption(socketOption())
    .action(async (text: string, _options: object, command: Command) => {
      await print(formatJson(await withCri(command, async (cri) => await inspect(cri, text))));
    });
}

async function inspect(cri: Cri, text: string): Promise<object> {
  try {
    const { kind, id } = lookUpAny(await readInventory(cri), text);
    if (kind === 'pod') {
      const { status, info } = await cri.runtime.podSandboxStatus({ podSandboxId: id, verbose: true });
      return { kind, status: status === undefined ? {} : readablePod(status), ...parseInfo(info) };
    }
    const { status, info } = await cri.runtime.containerStatus({ containerId: id, verbose: true });
    return { kind, status: status === undefined ? {} : readableContainer(status), ...parseInfo(info) };
  } catch (error) {
    if (!isKind(error, 'not-found')) throw error;
    const { image, info } = await cri.images.imageStatus({ image: imageSpec(text), verbose: true });
    if (image !== undefined) return { kind: 'image', image, ...parseInfo(info) };
    throw new EngineError('not-found', `no pod, container or image is called ${quote(text)}`);
  }
}

/** The wire's numbers in words. */
function readablePod(status: PodSandboxStatus): object {
  return { ...status, state: podStateName(status.state), createdAt: isoOfNs(status.createdAt) };
}

function readableContainer(status: ContainerStatus): object {
  return {
    ...status,
    state: containerStateName(status.state),
    createdAt: isoOfNs(status.createdAt),
    startedAt: isoOfNs(status.startedAt),
    finishedAt: isoOfNs(status.finishedAt),
  };
}
