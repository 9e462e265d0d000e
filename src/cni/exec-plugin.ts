/** Plugins as programs: environment and standard input in, one JSON document on standard output back (CNI 1.1, section 2). */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { EngineError, errnoOf, messageOf } from '../lib/errors.ts';
import { untilAborted } from '../lib/keyed-lock.ts';
import { parseUntrustedJson } from '../lib/untrusted-json.ts';
import { CommandError, runCommand, type CommandResult } from '../linux/command.ts';
import { PluginError } from './plugin-error.ts';
import { currentVersion } from './versions.ts';

export type PluginCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

/** One call of a plugin's program. The attachment's fields are absent in STATUS, GC and VERSION. */
export interface PluginCall {
  readonly command: PluginCommand;
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly containerId?: string;
  readonly netnsPath?: string | undefined;
  readonly ifName?: string;
  readonly args?: Readonly<Record<string, string>>;
}

export interface ExecOptions {
  /** Searched in order. */
  readonly binDirs: readonly string[];
  /** A program that runs longer is killed with all that it started. */
  readonly timeoutMs: number;
}

const maxOutputBytes = 1024 * 1024;
const maxMessageChars = 1000;
const busyRetries = 5;
const busyRetryMs = 200;

const errorSchema = z.object({
  code: z.number().int(),
  msg: z.string().default(''),
  details: z.string().nullish(),
});

/** Where the plugin's program is. @throws PluginError failed-precondition that names the directories searched */
export async function findPlugin(type: string, binDirs: readonly string[]): Promise<string> {
  for (const directory of binDirs) {
    const path = join(directory, type);
    if (await isProgram(path)) return path;
  }
  throw new PluginError(type, `CNI plugin ${type} is not in ${binDirs.join(', ') || 'any directory'}`, {
    kind: 'failed-precondition',
  });
}

/**
 * Runs the program and gives what it wrote, parsed; undefined when it wrote nothing.
 *
 * @throws PluginError with the code of the plugin's error document; deadline-exceeded when it was killed
 * @throws the signal's reason
 */
export async function execPlugin(
  options: ExecOptions,
  call: PluginCall,
  signal?: AbortSignal,
): Promise<unknown> {
  const path = await findPlugin(call.type, options.binDirs);
  const result = await runProgram(path, options, call, signal);
  const text = result.stdout.toString().trim();
  if (result.exitCode !== 0) throw failure(call, result, text);
  if (text === '') return undefined;
  try {
    return parseUntrustedJson(result.stdout);
  } catch (error) {
    throw new PluginError(call.type, `${describe(call)}: its output is ${messageOf(error)}: ${cut(text)}`, {
      cause: error,
    });
  }
}

/** Which versions of the protocol the programs speak; asked once per program and change of its file. */
export class PluginVersions {
  readonly #known = new Map<string, Promise<readonly string[]>>();

  /** @throws PluginError when the plugin is missing or does not answer */
  async of(options: ExecOptions, type: string, signal?: AbortSignal): Promise<readonly string[]> {
    const path = await findPlugin(type, options.binDirs);
    const { mtimeMs, size, ino } = await stat(path);
    const key = `${path} ${mtimeMs} ${size} ${ino}`;
    const known = this.#known.get(key);
    if (known !== undefined) return await untilAborted(known, signal);
    // Shared by all who ask meanwhile: one client that leaves does not fail the others.
    const asked = askVersions(options, type);
    this.#known.set(key, asked);
    asked.catch(() => this.#known.delete(key));
    return await untilAborted(asked, signal);
  }
}

const versionsSchema = z.object({ supportedVersions: z.array(z.string()) });

async function askVersions(options: ExecOptions, type: string): Promise<readonly string[]> {
  const call: PluginCall = { command: 'VERSION', type, config: { cniVersion: currentVersion } };
  const verdict = versionsSchema.safeParse(await execPlugin(options, call));
  if (verdict.success) return verdict.data.supportedVersions;
  throw new PluginError(type, `${describe(call)}: its answer has no supportedVersions`);
}

async function runProgram(
  path: string,
  options: ExecOptions,
  call: PluginCall,
  signal?: AbortSignal,
): Promise<CommandResult> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await runCommand([path], {
        input: JSON.stringify(call.config),
        env: environment(options, call),
        timeoutMs: options.timeoutMs,
        maxOutputBytes,
        signal,
      });
    } catch (error) {
      // The program is being replaced by an installer: its file is open for writing for a moment.
      const isBusy = error instanceof EngineError && errnoOf(error.cause) === 'ETXTBSY';
      if (!isBusy || attempt >= busyRetries) throw endedBadly(call, error);
    }
    await sleep(busyRetryMs, undefined, { signal });
  }
}

/** The daemon's environment (proxies, cloud settings that operators give to plugins), but for what is meant for the daemon alone. */
function environment({ binDirs }: ExecOptions, call: PluginCall): Record<string, string> {
  const env: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  };
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !/^(NODE_|NOTIFY_|LISTEN_|WATCHDOG_|CNI_)/.test(name)) env[name] = value;
  }
  return {
    ...env,
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? '',
    CNI_NETNS: call.netnsPath ?? '',
    CNI_IFNAME: call.ifName ?? '',
    CNI_ARGS: Object.entries(call.args ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(';'),
    CNI_PATH: binDirs.join(':'),
  };
}

function endedBadly(call: PluginCall, error: unknown): unknown {
  if (error instanceof CommandError) {
    return new PluginError(call.type, `${describe(call)}: ${error.message}`, {
      kind: error.timedOut ? 'deadline-exceeded' : 'internal',
      cause: error,
    });
  }
  if (error instanceof EngineError) {
    return new PluginError(call.type, `${describe(call)}: ${error.message}`, {
      kind: error.kind,
      cause: error,
    });
  }
  return error;
}

/** The error document is on standard output in practice; without one, what the program said last is all there is. */
function failure(call: PluginCall, result: CommandResult, text: string): PluginError {
  const document = readErrorDocument(result.stdout);
  const said = cut(result.stderr.trim() || text);
  if (document === undefined) {
    const how = result.exitCode === undefined ? `ended by ${result.signal}` : `exit code ${result.exitCode}`;
    return new PluginError(call.type, `${describe(call)}: ${how}${said === '' ? '' : `: ${said}`}`);
  }
  const details = document.details ? ` (${cut(document.details)})` : '';
  return new PluginError(
    call.type,
    `${describe(call)}: ${cut(document.msg) || 'no reason given'}${details}, code ${document.code}`,
    {
      code: document.code,
    },
  );
}

function readErrorDocument(output: Buffer): z.output<typeof errorSchema> | undefined {
  try {
    return errorSchema.safeParse(parseUntrustedJson(output)).data;
  } catch {
    return undefined;
  }
}

function describe({ type, command, containerId }: PluginCall): string {
  return `CNI plugin ${type}, ${command}${containerId === undefined ? '' : ` of ${containerId}`}`;
}

function cut(text: string): string {
  return text.length > maxMessageChars ? `${text.slice(0, maxMessageChars)}...` : text;
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
