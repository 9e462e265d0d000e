/**
 * Container Device Interface: vendors' files say what a device means for a container (environment, device nodes, mounts,
 * hooks). The files belong to the node's administrator; a request only names devices in them.
 * https://github.com/cncf-tags/container-device-interface/blob/v1.0.1/SPEC.md
 */
import { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { hookKinds, type Device, type Hook, type Hooks, type Mount } from '../../oci/spec-types.ts';
import { cleanPath } from './clean-path.ts';
import { invalidField } from './invalid-field.ts';
import type { GrantedDevice } from './spec-input.ts';

/** What the named devices add to a container. */
export interface CdiEdits {
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly devices: readonly GrantedDevice[];
  readonly mounts: readonly Mount[];
  readonly hooks: Hooks;
  readonly additionalGids: readonly number[];
}

const absolute = z.string().regex(/^\/[^\0]*$/, 'must be an absolute path');
const id = z
  .number()
  .int()
  .min(0)
  .max(2 ** 31 - 1);

const editsSchema = z.object({
  env: z.array(z.string().regex(/^[^=\0]+=[^\0]*$/, 'must be NAME=value')).default([]),
  deviceNodes: z
    .array(
      z.object({
        path: absolute,
        hostPath: absolute.optional(),
        type: z.enum(['b', 'c', 'u', 'p', '']).optional(),
        major: z.number().int().min(0).optional(),
        minor: z.number().int().min(0).optional(),
        fileMode: z.number().int().min(0).max(0o7777).optional(),
        permissions: z.string().optional(),
        uid: id.optional(),
        gid: id.optional(),
      }),
    )
    .default([]),
  mounts: z
    .array(
      z.object({
        hostPath: absolute,
        containerPath: absolute,
        type: z.string().optional(),
        options: z.array(z.string()).optional(),
      }),
    )
    .default([]),
  hooks: z
    .array(
      z.object({
        hookName: z.enum(hookKinds),
        path: absolute,
        args: z.array(z.string()).optional(),
        env: z.array(z.string()).optional(),
        timeout: z.number().int().min(0).optional(),
      }),
    )
    .default([]),
  additionalGids: z.array(id).default([]),
});

const kindPattern = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\/[A-Za-z](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const devicePattern = /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

const specSchema = z.object({
  cdiVersion: z.string().regex(/^\d+\.\d+\.\d+$/, 'must be a version'),
  kind: z.string().regex(kindPattern, 'must be vendor/class'),
  devices: z.array(
    z.object({
      name: z.string().regex(devicePattern, 'must be a device name'),
      containerEdits: editsSchema,
    }),
  ),
  containerEdits: editsSchema.optional(),
});

type RawEdits = z.infer<typeof editsSchema>;

/** A vendor's file, read and checked. `priority` grows with the directory: the last directory wins. */
export interface CdiSpec extends z.infer<typeof specSchema> {
  readonly file: string;
  readonly priority: number;
}

/** Looks up a device node of the node. */
export type DeviceLookup = (path: string) => Promise<Device | undefined>;

/** What the text of a CDI file says. @throws EngineError failed-precondition that names the file and the place in it */
export function checkCdiSpec(raw: unknown, file: string, priority: number): CdiSpec {
  const parsed = specSchema.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const problem = `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not valid'}`;
    throw new EngineError('failed-precondition', `CDI file ${file}: ${problem}`, { cause: parsed.error });
  }
  return { ...parsed.data, file, priority };
}

/**
 * The devices that a request names, by its own field and by annotations `cdi.k8s.io/<any>: name,name`, without repeats.
 * Only annotations of the live request may be passed, never those of a checkpoint (CVE-2026-53492) or of an image.
 *
 * @throws EngineError invalid-argument
 */
export function requestedCdiDevices(
  names: readonly string[],
  annotations: Readonly<Record<string, string>>,
): string[] {
  const annotated = Object.entries(annotations)
    .filter(([key]) => key.startsWith('cdi.k8s.io/'))
    .flatMap(([, value]) => value.split(','));
  const wanted = [...new Set([...names, ...annotated])];
  for (const name of wanted) splitName(name);
  return wanted;
}

function splitName(name: string): { kind: string; device: string } {
  const at = name.indexOf('=');
  const kind = name.slice(0, Math.max(at, 0));
  const device = name.slice(at + 1);
  if (!kindPattern.test(kind) || !devicePattern.test(device)) {
    throw invalidField('CDI_devices', `${JSON.stringify(name)} is not of the form vendor/class=device`);
  }
  return { kind, device };
}

/**
 * What the named devices add: for each file that holds one, its common edits once, then each device's.
 *
 * @throws EngineError invalid-argument for an unknown device, failed-precondition for one that two files define or whose node is missing
 */
export async function resolveCdi(
  specs: readonly CdiSpec[],
  names: readonly string[],
  lookUp: DeviceLookup,
): Promise<CdiEdits> {
  const found = names.map((name) => findDevice(specs, name));
  const files = [...new Set(found.map(({ spec }) => spec))];
  const edits = [
    ...files.flatMap(({ containerEdits }) => (containerEdits === undefined ? [] : [containerEdits])),
    ...found.map(({ device }) => device.containerEdits),
  ];
  const devices: GrantedDevice[] = [];
  for (const node of edits.flatMap(({ deviceNodes }) => deviceNodes))
    devices.push(await grantNode(node, lookUp));
  return {
    env: edits.flatMap(({ env }) => env),
    devices,
    mounts: edits.flatMap(({ mounts }) => mounts).map((mount) => toOciMount(mount)),
    hooks: collectHooks(edits),
    additionalGids: [...new Set(edits.flatMap(({ additionalGids }) => additionalGids))],
  };
}

function findDevice(specs: readonly CdiSpec[], name: string) {
  const { kind, device: wanted } = splitName(name);
  const candidates = specs
    .filter((spec) => spec.kind === kind)
    .flatMap((spec) =>
      spec.devices.filter((device) => device.name === wanted).map((device) => ({ spec, device })),
    )
    .toSorted((one, other) => other.spec.priority - one.spec.priority);
  const [first, second] = candidates;
  if (first === undefined)
    throw invalidField('CDI_devices', `no CDI file on this node defines ${JSON.stringify(name)}`);
  if (second?.spec.priority === first.spec.priority) {
    throw new EngineError(
      'failed-precondition',
      `CDI device ${name} is defined twice, in ${first.spec.file} and in ${second.spec.file}`,
    );
  }
  return first;
}

type RawNode = RawEdits['deviceNodes'][number];

/** What the file leaves out is taken from the node's own device. */
async function grantNode(node: RawNode, lookUp: DeviceLookup): Promise<GrantedDevice> {
  const isWhole =
    node.type !== undefined && node.type !== '' && (node.type === 'p' || node.major !== undefined);
  const hostPath = node.hostPath ?? node.path;
  const known = isWhole ? undefined : await lookUp(hostPath);
  if (!isWhole && known === undefined) {
    throw new EngineError('failed-precondition', `CDI: ${hostPath} is not a device of this node`);
  }
  const given = Object.fromEntries(
    Object.entries({
      type: node.type === '' ? undefined : node.type,
      major: node.major,
      minor: node.minor,
      fileMode: node.fileMode,
      uid: node.uid,
      gid: node.gid,
    }).filter(([, value]) => value !== undefined),
  );
  return {
    device: { type: 'c', ...known, ...given, path: cleanPath(node.path, 'CDI device node') },
    permissions: node.permissions === undefined || node.permissions === '' ? 'rwm' : node.permissions,
    ...(hostPath === node.path ? {} : { hostPath }),
  };
}

function toOciMount({ hostPath, containerPath, type, options }: RawEdits['mounts'][number]): Mount {
  return {
    destination: cleanPath(containerPath, 'CDI mount'),
    type: type === undefined || type === '' ? 'bind' : type,
    source: hostPath,
    options: options ?? ['rbind', 'rprivate', 'ro', 'nosuid', 'nodev'],
  };
}

function collectHooks(edits: readonly RawEdits[]): Hooks {
  const byName = new Map<(typeof hookKinds)[number], Hook[]>();
  for (const { hookName, path, args, env, timeout } of edits.flatMap(({ hooks }) => hooks)) {
    const hook: Hook = {
      path,
      ...(args === undefined ? {} : { args }),
      ...(env === undefined ? {} : { env }),
      ...(timeout === undefined ? {} : { timeout }),
    };
    byName.set(hookName, [...(byName.get(hookName) ?? []), hook]);
  }
  return Object.fromEntries(byName);
}
