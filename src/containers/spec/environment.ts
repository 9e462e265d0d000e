import type { EnvVar } from '../container-config.ts';
import { invalidField } from './invalid-field.ts';

/** Where the variables of a container come from, least important first. */
export interface EnvSources {
  readonly hostname: string;
  readonly tty: boolean;
  /** `NAME=value` lines of the image. */
  readonly image: readonly string[];
  readonly request: readonly EnvVar[];
  /** The home directory of the user, for when nobody sets HOME. */
  readonly home: string;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The environment of a container's process: defaults, then the image's, then the request's; the last one to name a
 * variable wins, at the place where it was first named. A line of the image without `=` unsets the variable.
 *
 * @throws EngineError invalid-argument that names the variable
 */
export function buildEnv(sources: EnvSources): string[] {
  const variables = new Map([
    ['PATH', defaultPath],
    ['HOSTNAME', sources.hostname],
  ]);
  if (sources.tty) variables.set('TERM', 'xterm');
  for (const line of sources.image) applyImageLine(variables, line);
  for (const [index, { name, value }] of sources.request.entries()) {
    checkName(name, `envs[${index}].key`);
    variables.set(name, value);
  }
  if (!variables.has('HOME')) variables.set('HOME', sources.home);
  checkValues(variables);
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

function applyImageLine(variables: Map<string, string>, line: string): void {
  const at = line.indexOf('=');
  if (at === 0) return;
  if (at === -1) variables.delete(line);
  else variables.set(line.slice(0, at), line.slice(at + 1));
}

/** Checks variables that are added to a finished environment. @throws EngineError invalid-argument that names the variable */
export function checkVariables(variables: readonly EnvVar[]): void {
  for (const [index, { name }] of variables.entries()) checkName(name, `env[${index}].key`);
  checkValues(new Map(variables.map(({ name, value }) => [name, value])));
}

function checkName(name: string, field: string): void {
  if (name === '') throw invalidField(field, 'a variable needs a name');
  if (/[=\0]/.test(name)) throw invalidField(field, `${JSON.stringify(name)} holds = or a NUL character`);
}

function checkValues(variables: ReadonlyMap<string, string>): void {
  for (const [name, value] of variables) {
    if (value.includes('\0')) throw invalidField(`envs[${name}]`, 'the value holds a NUL character');
  }
  // CVE-2026-15809: runtimes and entrypoints write HOME into /etc/passwd, where a line break makes a second user.
  if (hasControlCharacter(variables.get('HOME') ?? '')) {
    throw invalidField('envs[HOME]', 'a home directory must not hold control characters');
  }
}

/** True for text with a character that ends or corrupts a line of a file. */
export function hasControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text);
}
