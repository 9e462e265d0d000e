/** The engines that the suite can drive, each started with the same runtimes, mirrors and kind of network. */
import { join } from 'node:path';
import { type Background, startBackground, untilListening } from '../engines/background.ts';
import { writeBridgeNetwork } from '../engines/bridge-network.ts';
import { type EngineCommand, readyTimeoutMs } from '../engines/command.ts';
import { configureContainerd } from '../engines/containerd.ts';
import { configureGantry } from '../engines/gantry.ts';
import { cannotRaiseLimits } from './host-lacks.ts';

export const engineNames = ['gantry', 'containerd'] as const;
export type EngineName = (typeof engineNames)[number];

/** The OCI runtimes that pods may run under. */
export const runtimeNames = ['crun', 'runc'] as const;
export type RuntimeName = (typeof runtimeNames)[number];

export interface EngineOptions {
  readonly name: EngineName;
  readonly runtime: RuntimeName;
  /** gantryd's entry, or the folder that containerd and its shim lie in. */
  readonly program: string;
  /** Where hosts.toml files lie: `<host>/hosts.toml`. */
  readonly certsDirectory: string;
  /** For its configuration and log. */
  readonly directory: string;
}

export interface RunningEngine extends AsyncDisposable {
  readonly socket: string;
  readonly pidFile: string;
  readonly process: Background;
}

/** The cgroup that the kubelet is told the engine is in. */
export const engineGroup = 'container-engine';
/** The pause image that containerd makes sandboxes of; Gantry needs none. */
const pauseImage = 'registry.k8s.io/pause:3.10.2';
/** The handler that the suite's RuntimeClass specs ask for. */
const testHandler = 'test-handler';

/** Starts it and waits until it answers. */
export async function startEngine(options: EngineOptions): Promise<RunningEngine> {
  const log = join(options.directory, `${options.name}.log`);
  const pidFile = join(options.directory, `${options.name}.pid`);
  const { argv, socket } = options.name === 'gantry' ? gantry(options) : containerd(options);
  await using stack = new AsyncDisposableStack();
  const process = stack.use(
    startBackground(protectedFromOom(argv), { log, group: engineGroup, keepWithPidFile: pidFile }),
  );
  await untilListening(process, { socket, log, timeoutMs: readyTimeoutMs });
  const owned = stack.move();
  return { socket, pidFile, process, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

/** As their units of systemd do it: the OOM killer takes an engine last. */
function protectedFromOom(argv: readonly string[]): readonly string[] {
  return cannotRaiseLimits() ? argv : ['choom', '--adjust', '-999', '--', ...argv];
}

function gantry(options: EngineOptions): EngineCommand {
  const { program, directory, runtime, certsDirectory } = options;
  const handlers = { [runtime]: runtime, [testHandler]: runtime };
  const sections = { images: { certs_dirs: [certsDirectory] } };
  return configureGantry({ program, directory, handlers, sections });
}

function containerd(options: EngineOptions): EngineCommand {
  const { program, directory, runtime, certsDirectory } = options;
  const handlers = { [runtime]: runtime, [testHandler]: runtime };
  const networks = '/etc/cni/net.d';
  writeBridgeNetwork(networks, { name: 'bridge', bridge: 'cni0', subnet: '10.88.0.0/16' });
  // Its sandboxes ask for a score that runc cannot set everywhere; Gantry finds that out by itself.
  const runtimeKeys = { restrict_oom_score_adj: cannotRaiseLimits() };
  return configureContainerd({
    program,
    directory,
    handlers,
    networks,
    pauseImage,
    certsDirectory,
    runtimeKeys,
  });
}
