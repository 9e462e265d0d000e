/** kubectl's own client library, as a process, on the kubelet's exec, attach and port-forward endpoints. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { podUrl } from './kubelet-api.ts';

export type Transport = 'spdy' | 'websocket';

/** Why there is no such client here, or undefined. */
export function streamClientSkipReason(): string | undefined {
  return process.env['GANTRY_STREAM_CLIENT'] === undefined
    ? 'GANTRY_STREAM_CLIENT names no client: hack/kubelet stream-client builds it (hack/test does both)'
    : undefined;
}

export interface StreamResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

interface StreamRequest {
  readonly verb: 'exec' | 'attach';
  readonly pod: string;
  readonly container: string;
  readonly command?: readonly string[];
  /** What goes to the standard input, and ends it; without it there is none. */
  readonly input?: Buffer | string;
  readonly tty?: boolean;
}

/** Starts one exec or attach and hands out the process; its stdin is open when `input` is given and empty. */
export function startStream(transport: Transport, request: StreamRequest): ChildProcess {
  const { verb, pod, container, command = [], input, tty = false } = request;
  const url = podUrl(verb, [pod, container], {
    command,
    output: '1',
    ...(tty ? { tty: '1' } : { error: '1' }),
    ...(input === undefined ? {} : { input: '1' }),
  });
  return start([transport, 'stream', url.href]);
}

/** One exec or attach from start to end. */
export async function stream(transport: Transport, request: StreamRequest): Promise<StreamResult> {
  const child = startStream(transport, request);
  child.stdin?.end(request.input ?? '');
  return await resultOf(child);
}

/** How a started client ends, and everything that it was told. */
export async function resultOf(child: ChildProcess): Promise<StreamResult> {
  const exited = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)));
  if (child.stdout === null || child.stderr === null) throw new Error('the client has no pipes');
  const [exitCode, stdout, stderr] = await Promise.all([exited, buffer(child.stdout), buffer(child.stderr)]);
  return { exitCode, stdout, stderr: stderr.toString() };
}

/** Forwards a port of this machine to the pod's; `port` is this machine's. */
export async function forwardPort(
  transport: Transport,
  pod: string,
  podPort: number,
): Promise<AsyncDisposable & { readonly port: number }> {
  const child = start([transport, 'port-forward', podUrl('portForward', [pod]).href, `0:${podPort}`]);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  if (child.stdout === null) throw new Error('the client has no pipes');
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /^Forwarding from 127\.0\.0\.1:(\d+) /.exec(line)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return {
      port: Number(port),
      async [Symbol.asyncDispose]() {
        child.stdin?.end();
        await ended;
      },
    };
  }
  throw new Error(`the port is not forwarded: ${said}`);
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.env['GANTRY_STREAM_CLIENT'] ?? '', args, { stdio: 'pipe' });
}
