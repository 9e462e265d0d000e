import { newContainerId, newSandboxId, parseDigest } from '../../lib/ids.ts';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import type { Container } from '../container.ts';
import { sampleContainer, sampleInput } from '../spec/testing/sample-input.ts';

const common = { version: 1, runtimeHandler: 'crun', createdAtNs: '1700000000000000000', bootId: 'boot' };

/** The record of a ready pod with an id of its own. */
export function sampleSandboxRecord(more: Partial<Sandbox> = {}): Sandbox {
  return {
    ...common,
    id: newSandboxId(),
    config: sampleInput.pod,
    cgroup: { parent: '/', isOwn: true },
    state: { name: 'ready', ips: [], namespaces: {} },
    ...more,
  };
}

/** The record of a created container with an id of its own, in a pod that is nowhere. */
export function sampleContainerRecord(more: Partial<Container> = {}): Container {
  const process = { pid: 2 ** 30, startTicks: '1' };
  return {
    ...common,
    id: newContainerId(),
    sandboxId: newSandboxId(),
    config: sampleContainer,
    imageId: parseDigest(`sha256:${'0'.repeat(64)}`),
    imageReference: 'registry.example/web:1',
    cgroupsPath: '/c',
    stopSignal: 'SIGTERM',
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: { hugepageLimits: [] },
    state: { name: 'created', processes: { monitor: process, process } },
    ...more,
  };
}
