/** ExecSync, and the RPCs that hand out a URL: Exec, Attach, PortForward. */
import { attachContainer } from '../containers/attach.ts';
import type { ContainerDeps } from '../containers/deps.ts';
import { execInContainer } from '../containers/exec.ts';
import { execSync, type ExecSyncDeps } from '../containers/exec-sync.ts';
import { EngineError } from '../lib/errors.ts';
import type { SandboxStore } from '../sandbox/sandbox.ts';
import type { ConnectPort } from '../streaming/port-forward.ts';
import type { StreamingServer } from '../streaming/server.ts';
import { encodeExecSync } from './exec-sync-response.ts';
import type { RuntimeHandlers } from './handlers.ts';
import { integer, requiredText } from './translate/fields.ts';

export interface StreamHandlerDeps {
  readonly containers: ContainerDeps;
  readonly exec: ExecSyncDeps;
  readonly sandboxes: SandboxStore;
  readonly streaming: StreamingServer;
  /** Connects to a port on the loopback address of a pod. */
  readonly connectInPod: (netnsPath: string | undefined, port: number) => ReturnType<ConnectPort>;
}

interface WireStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export function streamHandlers(
  deps: StreamHandlerDeps,
): Pick<RuntimeHandlers, 'execSync' | 'exec' | 'attach' | 'portForward'> {
  const { store } = deps.containers;
  return {
    async execSync({ containerId, cmd, timeout }, signal) {
      const { id } = store.mustFind(requiredText(containerId, 'container_id'));
      const timeoutMs = Math.max(0, integer(timeout, 'timeout')) * 1000;
      return encodeExecSync(await execSync(deps.exec, { id, command: command(cmd), timeoutMs }, signal));
    },
    async exec(request) {
      const { id } = runningContainer(deps, request.containerId);
      const options = streamOptions(request);
      const args = { id, command: command(request.cmd), terminal: options.tty, stdin: options.stdin };
      return {
        url: deps.streaming.urlFor({
          kind: 'exec',
          options,
          start: async () => execInContainer(deps.exec, args),
        }),
      };
    },
    async attach(request) {
      const { id } = runningContainer(deps, request.containerId);
      const options = streamOptions(request);
      return {
        url: deps.streaming.urlFor({
          kind: 'attach',
          options,
          start: async () =>
            await attachContainer(
              { ...deps.exec, containers: deps.containers },
              { id, stdin: options.stdin },
            ),
        }),
      };
    },
    async portForward({ podSandboxId, port }) {
      const bad = port.find((one) => one < 1 || one > 65535);
      if (bad !== undefined) throw new EngineError('invalid-argument', `port: ${bad} is not a port`);
      const { id } = deps.sandboxes.mustFind(requiredText(podSandboxId, 'pod_sandbox_id'));
      return {
        url: deps.streaming.urlFor({
          kind: 'port-forward',
          ports: port,
          connect: async (one) => await connectToPod(deps, id, one),
        }),
      };
    },
  };
}

function command(words: readonly string[]): readonly string[] {
  if (words.length === 0) throw new EngineError('invalid-argument', 'cmd is missing');
  return words;
}

function runningContainer({ containers }: StreamHandlerDeps, id: string) {
  const container = containers.store.mustFind(requiredText(id, 'container_id'));
  if (container.state.name !== 'running')
    throw new EngineError(
      'failed-precondition',
      `container ${container.id} is ${container.state.name}, not running`,
    );
  return container;
}

/** The CRI's rules: a terminal has no separate stderr, and something must be streamed. */
function streamOptions({ stdin, stdout, stderr, tty }: WireStreams): WireStreams {
  if (tty && stderr)
    throw new EngineError(
      'invalid-argument',
      'tty and stderr cannot both be true: a terminal has one output',
    );
  if (!stdin && !stdout && !stderr)
    throw new EngineError('invalid-argument', 'one of stdin, stdout and stderr must be true');
  return { stdin, stdout, stderr, tty };
}

/** Looked up at each connection: the pod may have been stopped since the URL was made. */
async function connectToPod(deps: StreamHandlerDeps, id: string, port: number): ReturnType<ConnectPort> {
  const { state } = deps.sandboxes.mustFind(id);
  if (state.name !== 'ready') throw new EngineError('failed-precondition', `pod sandbox ${id} is not ready`);
  return await deps.connectInPod(state.namespaces.net, port);
}
