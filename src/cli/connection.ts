/** What commands have in common: the socket, the connection, the output. */
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import type { Cri } from './client.ts';

const defaultSocket = '/run/gantry/gantry.sock';

/** The option that every command has which talks to the daemon. */
export function socketOption(): Option {
  return new Option('--socket <path>', `the daemon's socket (GANTRY_SOCKET, ${defaultSocket})`);
}

/** The option of everything that lists or shows. */
export function jsonOption(): Option {
  return new Option('--json', 'print JSON');
}

/** The socket that this call names: the option, the environment, the default; crictl's `unix://` is taken too. */
export function socketPathOf(command: Command): string {
  const { socket } = command.optsWithGlobals<{ readonly socket?: string }>();
  const text = firstSet(socket, process.env['GANTRY_SOCKET']) ?? defaultSocket;
  return resolve(text.replace(/^unix:(?:\/\/)?/, ''));
}

/** Opens the connection for as long as `use` runs. The client is loaded only now: help and completion start without it. */
export async function withCri<T>(command: Command, use: (cri: Cri) => Promise<T>): Promise<T> {
  const { openCri } = await import('./client.ts');
  using cri = await openCri(socketPathOf(command));
  return await use(cri);
}

/** Writes to standard output and waits while its reader is slow. */
export async function print(text: string | Uint8Array): Promise<void> {
  await write(process.stdout, text);
}

/** Writes to any of the process's outputs and waits while its reader is slow. */
export async function write(stream: NodeJS.WriteStream, text: string | Uint8Array): Promise<void> {
  if (stream.write(text)) return;
  const { promise, resolve: drained } = Promise.withResolvers<void>();
  stream.once('drain', drained);
  await promise;
}

function firstSet(...values: readonly (string | undefined)[]): string | undefined {
  return values.find((value) => value !== undefined && value !== '');
}
