/**
 * The stdio of a container or an exec through its conmon. The attach socket brings packets that begin with the number of the
 * stream (2 stdout, also everything of a terminal; 3 stderr) and takes packets of standard input as they are.
 */
import { Readable, Writable } from 'node:stream';
import type { Poller } from '../linux/poll.ts';
import { connectSeqpacket, type SeqpacketConnection } from '../linux/seqpacket.ts';

const stderrMark = 3;
// conmon reads 32 KiB at once and loses the rest of a longer packet.
const maxInputBytes = 16 * 1024;

/** The three streams over one connection. Both outputs have to be read or destroyed: conmon, and with it the container, waits for a slow reader. */
export class MonitorStreams {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly #connected = Promise.withResolvers<SeqpacketConnection>();
  readonly #full = new Set<Readable>();
  #connection: SeqpacketConnection | undefined;

  constructor() {
    // Whoever writes hears of it by the stream; nobody may write at all.
    this.#connected.promise.catch(() => undefined);
    this.stdout = this.#newOutput();
    this.stderr = this.#newOutput();
    this.stdin = new Writable({
      write: (chunk: Buffer, _encoding, done) => void this.#send(chunk).then(() => done(), done),
      final: (done) => void this.#endSending().then(() => done(), done),
    });
    // A process that goes away without reading its input is no failure: its exit code tells.
    this.stdin.on('error', () => undefined);
  }

  /** Starts the flow. The streams end with the connection. */
  connect(connection: SeqpacketConnection): void {
    this.#connection = connection;
    this.#connected.resolve(connection);
    connection.receive((packet) => this.#take(packet));
    void connection.closed.then(() => this.#end());
  }

  /** Ends the streams; the process at the other side goes on. */
  close(): void {
    this.#connected.reject(new Error('the streams were closed before they were connected'));
    this.#end();
  }

  #newOutput(): Readable {
    const output: Readable = new Readable({
      read: () => this.#wants(output),
      destroy: (error, done) => {
        this.#wants(output);
        done(error);
      },
    });
    return output;
  }

  #take(packet: Buffer): void {
    const output = packet[0] === stderrMark ? this.stderr : this.stdout;
    if (output.destroyed || output.push(packet.subarray(1))) return;
    this.#full.add(output);
    this.#connection?.pause();
  }

  #wants(output: Readable): void {
    if (this.#full.delete(output) && this.#full.size === 0) this.#connection?.resume();
  }

  #end(): void {
    this.#connection?.close();
    for (const output of [this.stdout, this.stderr])
      if (!output.destroyed && !output.readableEnded) output.push(null);
    this.stdin.destroy();
  }

  async #send(chunk: Buffer): Promise<void> {
    const connection = await this.#connected.promise;
    for (let at = 0; at < chunk.length; at += maxInputBytes) {
      await connection.send(chunk.subarray(at, at + maxInputBytes));
    }
  }

  async #endSending(): Promise<void> {
    const connection = await this.#connected.promise;
    await connection.endSending();
  }
}

/**
 * Attaches to a container: output from now on, and its standard input. When the first one to attach leaves or ends its input, conmon closes
 * the container's input unless it was created with stdin `open`.
 * `directory` is the bundle. Throws SyscallError ENOENT or ECONNREFUSED when the monitor is gone.
 */
export async function attachToMonitor(
  deps: { readonly poller: Poller },
  args: { readonly directory: string; readonly signal?: AbortSignal | undefined },
): Promise<MonitorStreams> {
  const connection = await connectSeqpacket(`${args.directory}/attach`, deps.poller, args.signal);
  const streams = new MonitorStreams();
  streams.connect(connection);
  return streams;
}
