import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { stringify } from 'smol-toml';
import type { EngineCommand } from './command.ts';

export interface GantryOptions {
  /** `dist/main.js`. */
  readonly program: string;
  /** Node's program, a name on PATH or a path; without it that of this process. */
  readonly node?: string;
  /** For `gantry.toml`. */
  readonly directory: string;
  /** The OCI runtime of each handler; the first is the default one. */
  readonly handlers: Readonly<Record<string, string>>;
  /** Further sections (docs/configuration.md). */
  readonly sections?: Readonly<Record<string, object>>;
}

/** Writes the configuration; the answer starts a daemon with it. */
export function configureGantry({
  program,
  node = execPath,
  directory,
  handlers,
  sections,
}: GantryOptions): EngineCommand {
  const config = join(directory, 'gantry.toml');
  const [first = ''] = Object.keys(handlers);
  const paths = Object.entries(handlers).map(([name, path]) => [name, { path }] as const);
  const runtime = { default_handler: first, handlers: Object.fromEntries(paths) };
  writeFileSync(config, stringify({ ...sections, runtime }));
  return { argv: [node, program, '--config', config], socket: '/run/gantry/gantry.sock' };
}
