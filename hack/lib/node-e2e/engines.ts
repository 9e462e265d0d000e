/** The engines that the suite can drive, each started with the same runtimes, mirrors and kind of network. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { env, execPath } from 'node:process';
import { type Background, startBackground, untilListening } from './background.ts';

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
  /** Emulated machines take minutes for what others do at once. */
  readonly readyTimeoutMs: number;
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
  const process = stack.use(startBackground(argv, { log, group: engineGroup, keepWithPidFile: pidFile }));
  await untilListening(process, { socket, log, timeoutMs: options.readyTimeoutMs });
  const owned = stack.move();
  return { socket, pidFile, process, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

interface Start {
  readonly argv: readonly string[];
  readonly socket: string;
}

function gantry(options: EngineOptions): Start {
  const config = join(options.directory, 'gantry.toml');
  const handler = (name: string): string => `[runtime.handlers.${name}]\npath = "${options.runtime}"\n`;
  writeFileSync(
    config,
    `[images]
certs_dirs = [${JSON.stringify(options.certsDirectory)}]
[runtime]
default_handler = "${options.runtime}"
${handler(options.runtime)}${handler(testHandler)}`,
  );
  return { argv: [execPath, options.program, '--config', config], socket: '/run/gantry/gantry.sock' };
}

function containerd(options: EngineOptions): Start {
  const socket = '/run/containerd/containerd.sock';
  const config = join(options.directory, 'containerd.toml');
  const cri = `plugins.'io.containerd.cri.v1`;
  const runtime = (handler: string): string => `
[${cri}.runtime'.containerd.runtimes.${handler}]
runtime_type = 'io.containerd.runc.v2'
[${cri}.runtime'.containerd.runtimes.${handler}.options]
BinaryName = '${options.runtime}'
`;
  writeFileSync(
    config,
    `version = 3
# Below /var/lib/gantry, because that lies on a real file system in a node of its own.
root = '/var/lib/gantry/containerd'
state = '/run/containerd'
[grpc]
address = '${socket}'
[${cri}.images'.pinned_images]
sandbox = '${pauseImage}'
[${cri}.images'.registry]
config_path = '${options.certsDirectory}'
[${cri}.runtime'.cni]
bin_dirs = ['/opt/cni/bin', '/usr/lib/cni']
conf_dir = '/etc/cni/net.d'
[${cri}.runtime'.containerd]
default_runtime_name = '${options.runtime}'
${runtime(options.runtime)}${runtime(testHandler)}`,
  );
  writeBridgeNetwork('/etc/cni/net.d/10-bridge.conflist');
  const path = `PATH=${options.program}:${env['PATH'] ?? ''}`;
  return { argv: ['env', path, join(options.program, 'containerd'), '--config', config], socket };
}

/** The network that Gantry has built in, for an engine that has none. */
function writeBridgeNetwork(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  const bridge = {
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/16' }]], routes: [{ dst: '0.0.0.0/0' }] },
  };
  const plugins = [bridge, { type: 'portmap', capabilities: { portMappings: true } }];
  writeFileSync(path, JSON.stringify({ cniVersion: '1.0.0', name: 'bridge', plugins }));
}
