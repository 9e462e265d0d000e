/** The config blob of an image: what a container of it runs by default, and the layers it is made of. Untrusted. */
import { z } from 'zod';
import { type DiffId, isDigest, parseDigest } from '../lib/ids.ts';
import { parseJson, type Platform } from './manifest.ts';

/** Defaults that an image gives its containers. Nothing of it is ever control input of the engine (CVE-2026-53488). */
export interface ImageConfig {
  /** As written (`www-data`, `1000:1000`, ``): it is read against the root file system at container start. */
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly workingDir: string;
  /** Paths inside the container. */
  readonly volumes: readonly string[];
  /** `SIGTERM`, `15` or empty. */
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `80/tcp`. */
  readonly exposedPorts: readonly string[];
}

export interface ImageConfigFile {
  readonly platform: Platform;
  readonly config: ImageConfig;
  /** Bottom layer first. */
  readonly diffIds: readonly DiffId[];
  /** RFC 3339, as the builder wrote it. */
  readonly created: string | undefined;
}

// Bounds are far above what builders write and far below what would hurt: an exec's argument space is 2 MiB.
const line = z
  .string()
  .max(128 * 1024)
  .refine((value) => !value.includes('\0'), 'has a NUL character');
const lines = z.array(line).max(4096).nullish();
const path = z
  .string()
  .max(4096)
  .refine((value) => !value.includes('\0'), 'has a NUL character');
const keys = z
  .record(path, z.unknown())
  .refine((value) => Object.keys(value).length <= 1024, 'has more than 1024 entries')
  .nullish();

const configFileSchema = z.object({
  architecture: z.string().max(64),
  os: z.string().max(64),
  variant: z.string().max(64).nullish(),
  created: z.string().max(64).nullish(),
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: z.array(z.string().refine(isDigest, 'is not a sha256 or sha512 digest')).max(512).nullable(),
  }),
  config: z
    .object({
      User: z.string().max(512).nullish(),
      Entrypoint: lines,
      Cmd: lines,
      Env: lines,
      WorkingDir: path.nullish(),
      Volumes: keys,
      StopSignal: z.string().max(64).nullish(),
      Labels: z.record(z.string().max(4096), line).nullish(),
      ExposedPorts: keys,
    })
    .nullish(),
});

/** @throws EngineError data-loss that names the field */
export function parseImageConfig(bytes: Buffer, name: string): ImageConfigFile {
  const raw = parseJson(bytes, configFileSchema, name);
  return {
    platform: { os: raw.os, architecture: raw.architecture, variant: raw.variant ?? undefined },
    config: readConfig(raw.config ?? {}),
    diffIds: (raw.rootfs.diff_ids ?? []).map((diffId) => parseDigest(diffId)),
    created: raw.created ?? undefined,
  };
}

type RawConfig = NonNullable<z.infer<typeof configFileSchema>['config']>;

function readConfig(raw: RawConfig): ImageConfig {
  return {
    user: raw.User ?? '',
    entrypoint: raw.Entrypoint ?? [],
    cmd: raw.Cmd ?? [],
    env: raw.Env ?? [],
    workingDir: raw.WorkingDir ?? '',
    volumes: Object.keys(raw.Volumes ?? {}),
    stopSignal: raw.StopSignal ?? '',
    labels: raw.Labels ?? {},
    exposedPorts: Object.keys(raw.ExposedPorts ?? {}),
  };
}
