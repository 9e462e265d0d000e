/** CRIU, which saves and restores processes for the OCI runtimes that were built with its support. */
import { messageOf } from '../lib/errors.ts';
import { runCommand } from '../linux/command.ts';
import { findProgram } from '../linux/program.ts';
import type { OciRuntime } from './oci-runtime.ts';

/** The runtimes find it by their PATH, which is ours. */
const program = 'criu';
const timeoutMs = 20_000;

/** Why no container of this runtime can be checkpointed or restored on this host, or undefined if it can. */
export async function whyNoCheckpoints(
  runtime: Pick<OciRuntime, 'name' | 'path' | 'version'>,
): Promise<string | undefined> {
  return (await whyNoCriu()) ?? (await whyNotByRuntime(runtime));
}

/** Why CRIU cannot work on this host, or undefined: it may be missing, or older than the kernel that it has to know. */
export async function whyNoCriu(): Promise<string | undefined> {
  try {
    findProgram(program);
  } catch {
    return 'CRIU is not installed: apt-get install criu';
  }
  const check = await run([program, 'check']);
  if (check.exitCode === 0) return undefined;
  const said = /Error \([^)]*\): (.*)$/m.exec(check.output)?.[1] ?? check.output.trim().slice(-200);
  const reason = said === '' ? `criu check ends with exit code ${check.exitCode}` : said;
  const version =
    /Version: (\S+)/.exec((await run([program, '--version'])).output)?.[1] ?? 'of unknown version';
  return `CRIU ${version} does not work with this kernel: ${reason}`;
}

async function whyNotByRuntime({
  name,
  path,
  version,
}: Pick<OciRuntime, 'name' | 'path' | 'version'>): Promise<string | undefined> {
  if (await isBuiltForCheckpoints(path)) return undefined;
  return `the runtime ${name} (${path} ${version}) is built without support for CRIU`;
}

/** What `features` says; a runtime that does not answer it (crun before 1.8.2, runc before 1.1) lists it in its version, or always has it. */
async function isBuiltForCheckpoints(path: string): Promise<boolean> {
  const features = await run([path, 'features']);
  const claim = /"[\w.]*checkpoint\.enabled": *"?(true|false)/.exec(features.output)?.[1];
  if (features.exitCode === 0 && claim !== undefined) return claim === 'true';
  const version = await run([path, '--version']);
  return /\+CRIU/.test(version.output) || version.output.startsWith('runc ');
}

async function run(argv: readonly string[]): Promise<{ readonly exitCode: number; readonly output: string }> {
  try {
    const { exitCode, stdout, stderr } = await runCommand(argv, { timeoutMs });
    return { exitCode: exitCode ?? 128, output: `${stdout.toString('utf8')}\n${stderr}` };
  } catch (error) {
    return { exitCode: 128, output: messageOf(error) };
  }
}
