/** Sandboxes -> the wire. */
import { PodSandboxState, type PodSandbox, type PodSandboxStatus } from '../../gen/runtime/v1/api.ts';
import type { Sandbox } from '../../sandbox/sandbox.ts';
import { namespacesToWire } from './security.ts';

export function sandboxToWire(sandbox: Sandbox): PodSandbox {
  const { id, config } = sandbox;
  return {
    id,
    metadata: { ...config.metadata },
    state: stateToWire(sandbox),
    createdAt: BigInt(sandbox.createdAtNs),
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    runtimeHandler: sandbox.runtimeHandler,
  };
}

export function sandboxStatusToWire(sandbox: Sandbox): PodSandboxStatus {
  const [ip = '', ...others] = sandbox.state.name === 'ready' ? sandbox.state.ips : [];
  return {
    ...sandboxToWire(sandbox),
    network: { ip, additionalIps: others.map((other) => ({ ip: other })) },
    linux: { namespaces: { options: namespacesToWire(sandbox.config.namespaces) } },
  };
}

/** Anything but ready must be stopped and replaced: that is what NOTREADY tells the kubelet. */
function stateToWire({ state }: Sandbox): PodSandboxState {
  return state.name === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}
