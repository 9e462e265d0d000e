/** The two engines, each as its users run it, on networks of their own of one kind. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Background, startBackground, untilListening } from '../engines/background.ts';
import { writeBridgeNetwork } from '../engines/bridge-network.ts';
import { type EngineCommand, readyTimeoutMs } from '../engines/command.ts';
import { configureContainerd } from '../engines/containerd.ts';
import { configureGantry } from '../engines/gantry.ts';
import { CriConnection, decode, prepare } from './cri.ts';
import { pauseReference } from './images.ts';

export interface EngineParts {
  /** Of Gantry, `dist/main.js`; of containerd, the folder of its programs. */
  readonly program: string;
  /** The OCI runtime's file. */
  readonly runtime: string;
  readonly directory: string;
  readonly registry: string;
}

interface EngineSetup extends EngineCommand {
  readonly name: string;
  /** What the command lines of its helpers hold. */
  readonly helpers: RegExp;
}

/** A running engine. */
export class Engine implements AsyncDisposable {
  readonly name: string;
  readonly #setup: EngineSetup;
  readonly #log: string;
  #process: Background | undefined;
  #connection: CriConnection | undefined;

  constructor(setup: EngineSetup, directory: string) {
    this.name = setup.name;
    this.#setup = setup;
    this.#log = join(directory, `${setup.name}.log`);
  }

  /** Where it serves the CRI. */
  get socket(): string {
    return this.#setup.socket;
  }

  get cri(): CriConnection {
    if (this.#connection === undefined) throw new Error(`${this.name} is not running`);
    return this.#connection;
  }

  /** Starts it and waits until its socket takes connections. */
  async start(): Promise<void> {
    const process = startBackground(this.#setup.argv, { log: this.#log });
    this.#process = process;
    await untilListening(process, { socket: this.#setup.socket, log: this.#log, timeoutMs: readyTimeoutMs });
    this.#connection = new CriConnection(this.#setup.socket);
  }

  /** Ends the daemon; containers live on. */
  async stop(): Promise<void> {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
    await this.#process?.[Symbol.asyncDispose]();
    this.#process = undefined;
  }

  /** `containerd v2.3.4`. */
  async version(): Promise<string> {
    const answer = await this.cri.send(prepare('Version', { version: '0.1.0' }));
    const { runtimeName, runtimeVersion } = decode<Record<string, string>>('Version', answer);
    return `${runtimeName} ${runtimeVersion}`;
  }

  /** Pids of the daemon, and of what it has running beside containers (monitors, shims, pause processes). */
  pids(): { readonly daemon: readonly number[]; readonly helpers: readonly number[] } {
    const marker = this.#setup.argv.at(-1) ?? '';
    const all = commandLines();
    const isDaemon = ([, line]: readonly [number, string]): boolean =>
      line.includes(marker) && !line.startsWith('/bin/sh');
    return {
      daemon: all.filter(isDaemon).map(([pid]) => pid),
      helpers: all
        .filter((entry) => !isDaemon(entry) && this.#setup.helpers.test(entry[1]))
        .map(([pid]) => pid),
    };
  }

  /** Stops its processes, but not its containers', until it is disposed of. */
  freeze(): Disposable {
    const { daemon, helpers } = this.pids();
    const pids = [...daemon, ...helpers];
    signalAll(pids, 'SIGSTOP');
    return { [Symbol.dispose]: () => signalAll(pids, 'SIGCONT') };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids)
    try {
      process.kill(pid, signal);
    } catch {
      // Has ended since.
    }
}

function commandLines(): (readonly [pid: number, line: string])[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [
          [Number(name), readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ')] as const,
        ];
      } catch {
        return [];
      }
    });
}

/** The same list of plugins for both; each has a bridge and a /16 of its own. */
function writeNetwork(directory: string, name: string, subnet: string): string {
  const place = join(directory, `${name}-net.d`);
  writeBridgeNetwork(place, { name: `bench-${name}`, bridge: `${name.slice(0, 8)}0`, subnet });
  return place;
}

export function gantry({ program, runtime, directory }: EngineParts): Engine {
  const command = configureGantry({
    program,
    // Not the client's own, which is another file.
    node: 'node',
    directory,
    handlers: { bench: runtime },
    sections: {
      log: { level: 'warn' },
      nri: { enabled: false },
      cni: { conf_dir: writeNetwork(directory, 'gantry', '10.88.0.0/16') },
    },
  });
  return new Engine({ name: 'gantry', ...command, helpers: /conmon/ }, directory);
}

export function containerd({ program, runtime, directory, registry }: EngineParts): Engine {
  const command = configureContainerd({
    program,
    directory,
    handlers: { bench: runtime },
    pauseImage: pauseReference(registry),
    networks: writeNetwork(directory, 'containerd', '10.89.0.0/16'),
    // Where the node may not lower the scores of processes, pause processes keep the daemon's.
    runtimeKeys: { restrict_oom_score_adj: true },
    plugins: { 'io.containerd.nri.v1.nri': { disable: true } },
    sections: { debug: { level: 'warn' } },
  });
  return new Engine({ name: 'containerd', ...command, helpers: /containerd-shim|pause-process/ }, directory);
}
