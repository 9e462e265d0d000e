/**
 * The configuration file's keys: type, default and meaning of each, in one place. The defaults printed by
 * `gantryd config default` and the table in docs/configuration.md are made from it.
 */
import { z } from 'zod';

const absolutePath = z.string().regex(/^\//, 'must be an absolute path');
const positive = z.number().int().positive();
const seconds = z.number().positive();

const handlerSchema = z.strictObject({
  path: z.string().min(1).describe('The runtime’s program: a name looked up on PATH, or an absolute path.'),
});

export const configSchema = z.strictObject({
  version: z.literal(1).default(1).describe('Version of this file’s format.'),
  root: absolutePath
    .default('/var/lib/gantry')
    .describe('Durable data: state database, images, snapshots. Mode 0700.'),
  state: absolutePath
    .default('/run/gantry')
    .describe('Run-time state: sockets, pinned namespaces, bundles. Mode 0711.'),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('Least severity that is logged.'),
    })
    .prefault({}),
  cri: z
    .strictObject({
      socket: absolutePath
        .default('/run/gantry/gantry.sock')
        .describe('Unix socket of the CRI. Access to it is root on the node.'),
      max_requests: positive
        .default(64)
        .describe('Requests that change something and run at once; further ones wait in order.'),
    })
    .prefault({}),
  streaming: z
    .strictObject({
      address: z
        .string()
        .default('127.0.0.1')
        .describe('Address of the exec, attach and port-forward server.'),
      port: z.number().int().min(0).max(65535).default(0).describe('Its port; 0 takes any free one.'),
      token_ttl_seconds: seconds
        .default(60)
        .describe('How long the one-time URL that Exec, Attach or PortForward returns may be used.'),
      idle_timeout_seconds: seconds
        .default(14400)
        .describe('A stream on which nothing moves for this long is closed.'),
    })
    .prefault({}),
  images: z
    .strictObject({
      max_concurrent_downloads: positive.default(3).describe('Layers of one pull downloaded at once.'),
      max_unpack_workers: positive
        .default(3)
        .describe('Worker threads that unpack layers; started on demand, ended when idle.'),
      decompressors: z
        .array(z.enum(['igzip', 'zstd']))
        .default(['igzip', 'zstd'])
        .describe(
          'Programs that decompress downloaded layers, igzip for gzip and zstd for zstd, where they are installed; Node does the rest, and all with an empty list.',
        ),
      pull_progress_timeout_seconds: seconds
        .default(300)
        .describe('A pull that receives no byte for this long is aborted.'),
      pinned: z
        .array(z.string())
        .default([])
        .describe('Images (references, `*` allowed) that garbage collection must not remove.'),
      certs_dirs: z
        .array(absolutePath)
        .default(['/etc/gantry/certs.d', '/etc/containerd/certs.d'])
        .describe('Folders of `<host>/hosts.toml`; the first that exists is used.'),
    })
    .prefault({}),
  cni: z
    .strictObject({
      conf_dir: absolutePath
        .default('/etc/cni/net.d')
        .describe('Network configurations; the first by name is the pods’ network.'),
      bin_dirs: z
        .array(absolutePath)
        .default(['/opt/cni/bin', '/usr/lib/cni'])
        .describe('Where plugins are looked for.'),
      cache_dir: absolutePath
        .default('/var/lib/cni')
        .describe('Results (`results/`) and address leases (`networks/`).'),
      conf_template: z
        .string()
        .default('')
        .describe('Template rendered into conf_dir when the kubelet announces the pod CIDR.'),
      default_subnet: z
        .string()
        .default('10.88.0.0/16')
        .describe(
          'Subnet of the built-in network, used while conf_dir holds no configuration; empty disables it.',
        ),
    })
    .prefault({}),
  runtime: z
    .strictObject({
      default_handler: z
        .string()
        .default('auto')
        .describe(
          'Handler of pods that ask for none; `auto` takes the first configured one that works on this host.',
        ),
      cgroup_driver: z
        .enum(['auto', 'cgroupfs', 'systemd'])
        .default('auto')
        .describe('`auto` is systemd where systemd is PID 1, else cgroupfs.'),
      conmon: z.string().default('conmon').describe('The container monitor’s program.'),
      catatonit: z
        .string()
        .default('catatonit')
        .describe('The program that holds a PID namespace shared by a pod.'),
      handlers: z
        .record(
          z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'must be a DNS label'),
          handlerSchema,
        )
        .default({ crun: { path: 'crun' }, runc: { path: 'runc' } })
        .describe('OCI runtimes by handler name (RuntimeClass).'),
    })
    .prefault({}),
  nri: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .describe('Whether plugins (Node Resource Interface) may watch and change pods and containers.'),
      socket: absolutePath
        .default('/var/run/nri/nri.sock')
        .describe(
          'Where plugins connect. Access to it is root on the node; its directory is made for root alone.',
        ),
      plugin_dir: absolutePath
        .default('/opt/nri/plugins')
        .describe('Programs named `<two digits>-<name>` that are started with the daemon as plugins.'),
      plugin_config_dir: absolutePath
        .default('/etc/nri/conf.d')
        .describe('What those are handed: `<two digits>-<name>.conf`, else `<name>.conf`.'),
      plugin_registration_timeout_seconds: seconds
        .default(5)
        .describe(
          'How long a plugin may take to register, and then to take in which pods and containers there are.',
        ),
      plugin_request_timeout_seconds: seconds
        .default(2)
        .describe('How long a plugin may take to answer; one that takes longer is disconnected.'),
    })
    .prefault({}),
  checkpoints: z
    .strictObject({
      restore_directories: z
        .array(absolutePath)
        .default([])
        .describe(
          'Folders of checkpoint archives that containers may be restored from: a container’s `image` is then the path of an archive. Whoever can name one decides what its processes do and hold in memory.',
        ),
      restore_images: z
        .boolean()
        .default(false)
        .describe(
          'Restore containers whose image is a checkpoint (by the annotation that checkpointctl and CRI-O give it).',
        ),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      address: z
        .string()
        .default('')
        .describe('`host:port` for Prometheus metrics without authentication; empty serves none.'),
    })
    .prefault({}),
  traces: z
    .strictObject({
      kept_requests: z
        .int()
        .min(4)
        .max(10_000)
        .default(200)
        .describe(
          'Finished requests of each method that `gantry trace` can show, a quarter of it for lists and statuses. Each takes some kilobytes of memory.',
        ),
    })
    .prefault({}),
});

export type Config = z.output<typeof configSchema>;
