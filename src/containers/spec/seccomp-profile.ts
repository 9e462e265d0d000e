/** Localhost seccomp profiles: files of the node's administrator, in the form of the OCI spec or of Docker. */
import { z } from 'zod';
import { EngineError, messageOf } from '../../lib/errors.ts';
import type { Seccomp, SeccompRule } from '../../oci/spec-types.ts';
import type { HostFacts, SeccompArchitecture } from './host-facts.ts';
import { architectureAbis } from './seccomp-default-profile.ts';

/** What decides which rules of a profile count. */
export interface SeccompContext {
  readonly architecture: SeccompArchitecture;
  readonly kernel: HostFacts['kernel'];
  /** The container's bounding set. */
  readonly capabilities: readonly string[];
}

/** A profile file larger than this is refused: it is no profile. */
export const maxSeccompProfileBytes = 1024 * 1024;

/** Go writes what is not set as null. */
const maybe = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const action = z.enum([
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_TRAP',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_LOG',
  'SCMP_ACT_NOTIFY',
]);
const operator = z.enum([
  'SCMP_CMP_NE',
  'SCMP_CMP_LT',
  'SCMP_CMP_LE',
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_MASKED_EQ',
]);
const abi = z.string().regex(/^SCMP_ARCH_[A-Z0-9_]+$/, 'is not an architecture such as SCMP_ARCH_X86_64');
const callName = z.string().regex(/^[a-zA-Z0-9_]{1,64}$/, 'is not the name of a system call');
// 64-bit values beyond 2^53 cannot be carried exactly: refused rather than rounded into another rule.
const word = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const errno = maybe(z.number().int().min(0).max(4095));
const condition = maybe(
  z.object({
    caps: maybe(z.array(z.string())),
    arches: maybe(z.array(z.string())),
    minKernel: maybe(z.string().regex(/^\d+\.\d+/, 'is not a version such as 4.8')),
  }),
);

const ruleSchema = z.object({
  name: maybe(callName.or(z.literal(''))),
  names: maybe(z.array(callName)),
  action,
  errnoRet: errno,
  args: maybe(
    z.array(
      z.object({ index: z.number().int().min(0).max(5), value: word, valueTwo: maybe(word), op: operator }),
    ),
  ),
  includes: condition,
  excludes: condition,
});

const profileSchema = z.object({
  defaultAction: action,
  defaultErrnoRet: errno,
  architectures: maybe(z.array(abi)),
  archMap: maybe(z.array(z.object({ architecture: abi, subArchitectures: maybe(z.array(abi)) }))),
  flags: maybe(z.array(z.string().regex(/^SECCOMP_FILTER_FLAG_[A-Z_]+$/))),
  listenerPath: maybe(z.string()),
  listenerMetadata: maybe(z.string()),
  syscalls: maybe(z.array(ruleSchema).max(4096)),
});

type Profile = z.infer<typeof profileSchema>;
type Rule = z.infer<typeof ruleSchema>;

/**
 * Reads a profile and settles what Docker's form leaves open: the architecture's ABIs, and rules that hold only for certain
 * capabilities, architectures or kernels.
 *
 * @throws EngineError invalid-argument that names the file and the place in it
 */
export function parseSeccompProfile(text: string, path: string, context: SeccompContext): Seccomp {
  const profile = readProfile(text, path);
  if ((profile.architectures ?? []).length > 0 && (profile.archMap ?? []).length > 0) {
    throw refusal(path, 'architectures and archMap exclude each other');
  }
  const actions = [profile.defaultAction, ...(profile.syscalls ?? []).map((rule) => rule.action)];
  // Not every runtime says so; the calls would then fail, or wait for ever.
  if (actions.includes('SCMP_ACT_NOTIFY') && !profile.listenerPath)
    throw refusal(path, 'SCMP_ACT_NOTIFY without a listenerPath: nobody would be notified');
  const syscalls = (profile.syscalls ?? [])
    .filter((rule) => applies(rule, context))
    .map((rule) => toOciRule(rule));
  if (syscalls.some(({ names }) => names.length === 0)) {
    throw refusal(path, 'syscalls: a rule names no system call');
  }
  return assemble(profile, context, syscalls);
}

function readProfile(text: string, path: string): Profile {
  if (text.length > maxSeccompProfileBytes) {
    throw refusal(path, `is larger than ${maxSeccompProfileBytes} bytes`);
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw refusal(path, `is not JSON: ${messageOf(error)}`, error);
  }
  const parsed = profileSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refusal(path, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not valid'}`, parsed.error);
}

function refusal(path: string, problem: string, cause?: unknown): EngineError {
  return new EngineError('invalid-argument', `seccomp profile ${JSON.stringify(path)}: ${problem}`, {
    cause,
  });
}

function assemble(profile: Profile, context: SeccompContext, syscalls: readonly SeccompRule[]): Seccomp {
  const architectures = abisOf(profile, context);
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(architectures.length === 0 ? {} : { architectures }),
    ...(profile.flags === undefined ? {} : { flags: profile.flags }),
    ...(profile.listenerPath ? { listenerPath: profile.listenerPath } : {}),
    ...(profile.listenerMetadata ? { listenerMetadata: profile.listenerMetadata } : {}),
    syscalls,
  };
}

function abisOf({ architectures, archMap }: Profile, { architecture }: SeccompContext): string[] {
  const [native] = architectureAbis[architecture];
  const entry = archMap?.find((candidate) => candidate.architecture === native);
  return entry === undefined
    ? [...(architectures ?? [])]
    : [entry.architecture, ...(entry.subArchitectures ?? [])];
}

function applies({ includes, excludes }: Rule, context: SeccompContext): boolean {
  return includesHold(includes, context) && !excludesHold(excludes, context);
}

/** All that is listed must be there: every capability, one of the architectures, the kernel. */
function includesHold(includes: Rule['includes'], context: SeccompContext): boolean {
  if (includes === undefined) return true;
  const { caps, arches, minKernel } = includes;
  return (
    (caps ?? []).every((capability) => context.capabilities.includes(capability)) &&
    (arches === undefined || arches.length === 0 || arches.includes(context.architecture)) &&
    (minKernel === undefined || isAtLeast(context.kernel, minKernel))
  );
}

/** One match excludes the rule. */
function excludesHold(excludes: Rule['excludes'], context: SeccompContext): boolean {
  if (excludes === undefined) return false;
  const { caps, arches, minKernel } = excludes;
  return (
    (caps ?? []).some((capability) => context.capabilities.includes(capability)) ||
    (arches ?? []).includes(context.architecture) ||
    (minKernel !== undefined && isAtLeast(context.kernel, minKernel))
  );
}

function isAtLeast(kernel: HostFacts['kernel'], version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return isKernelAtLeast(kernel, major, minor);
}

/** True for a kernel of this version or a later one. */
export function isKernelAtLeast(kernel: HostFacts['kernel'], major: number, minor: number): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

function toOciRule({ name, names, action: act, errnoRet, args }: Rule): SeccompRule {
  return {
    names: [...(name ? [name] : []), ...(names ?? [])],
    action: act,
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args === undefined || args.length === 0
      ? {}
      : {
          args: args.map(({ index, value, valueTwo, op }) => ({
            index,
            value,
            ...(valueTwo === undefined ? {} : { valueTwo }),
            op,
          })),
        }),
  };
}
