import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from 'node:process';
import { stringify } from 'smol-toml';
import type { EngineCommand } from './command.ts';

export interface ContainerdOptions {
  /** The folder that containerd and its shim lie in. */
  readonly program: string;
  /** For `containerd.toml`. */
  readonly directory: string;
  /** The OCI runtime of each handler; the first is the default one. */
  readonly handlers: Readonly<Record<string, string>>;
  /** What sandboxes are made of. */
  readonly pauseImage: string;
  /** CNI lists. */
  readonly networks: string;
  /** `<host>/hosts.toml`. */
  readonly certsDirectory?: string;
  /** Further keys of the plugin `io.containerd.cri.v1.runtime`. */
  readonly runtimeKeys?: Readonly<Record<string, unknown>>;
  /** Further plugins' sections, and further sections. */
  readonly plugins?: Readonly<Record<string, object>>;
  readonly sections?: Readonly<Record<string, object>>;
}

/** Writes the configuration; the answer starts a daemon with it. */
export function configureContainerd(options: ContainerdOptions): EngineCommand {
  const { program, directory, handlers, certsDirectory } = options;
  const socket = '/run/containerd/containerd.sock';
  const config = join(directory, 'containerd.toml');
  const [first = ''] = Object.keys(handlers);
  const runtimes = Object.entries(handlers).map(([handler, path]) => [
    handler,
    { runtime_type: 'io.containerd.runc.v2', options: { BinaryName: path } },
  ]);
  const images = {
    pinned_images: { sandbox: options.pauseImage },
    ...(certsDirectory === undefined ? {} : { registry: { config_path: certsDirectory } }),
  };
  const runtime = {
    ...options.runtimeKeys,
    cni: { bin_dirs: ['/opt/cni/bin', '/usr/lib/cni'], conf_dir: options.networks },
    containerd: { default_runtime_name: first, runtimes: Object.fromEntries(runtimes) as object },
  };
  const written = {
    version: 3,
    // Below /var/lib/gantry, because that lies on a real file system in a node of its own.
    root: '/var/lib/gantry/containerd',
    state: '/run/containerd',
    ...options.sections,
    grpc: { address: socket },
    plugins: {
      ...options.plugins,
      'io.containerd.cri.v1.images': images,
      'io.containerd.cri.v1.runtime': runtime,
    },
  };
  writeFileSync(config, stringify(written));
  const path = `PATH=${program}:${env['PATH'] ?? ''}`;
  return { argv: ['env', path, join(program, 'containerd'), '--config', config], socket };
}
