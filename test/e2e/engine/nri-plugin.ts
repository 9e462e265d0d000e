/** A plugin on NRI's own library (test/e2e/nri-plugin) as a process: what it is to answer is given, what it was told is kept. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { eventually } from './wait.ts';

/** What to answer to one kind of call; all of it may be left out. */
export interface PluginAnswer {
  /** Only for the pod or container of this name. */
  readonly for?: string;
  readonly error?: string;
  readonly hang?: boolean;
  readonly exit?: boolean;
  readonly reject?: string;
  /** As protobuf's JSON has it: camel case. */
  readonly adjust?: object;
  readonly update?: readonly object[];
}

interface NamedView {
  readonly id: string;
  readonly name: string;
}

/** One call, as the plugin printed it. Views are protobuf's JSON: 64-bit numbers are strings, what is empty is left out. */
export interface Told {
  readonly event: string;
  readonly pod?: NamedView & Readonly<Record<string, unknown>>;
  readonly container?: NamedView & Readonly<Record<string, unknown>>;
  readonly resources?: Readonly<Record<string, unknown>>;
  readonly config?: string;
  readonly pods?: readonly string[];
  readonly containers?: readonly (NamedView & Readonly<Record<string, unknown>>)[];
  readonly failed?: readonly string[];
  readonly error?: string;
}

/** Why there is no plugin to test with, or undefined. */
export function nriPluginSkipReason(): string | undefined {
  return process.env['GANTRY_NRI_PLUGIN'] === undefined
    ? 'the NRI plugin could not be built: Go is missing'
    : undefined;
}

/** The program. */
export function nriPluginProgram(): string {
  return process.env['GANTRY_NRI_PLUGIN'] ?? '';
}

export class NriPlugin implements AsyncDisposable {
  readonly told: Told[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;

  private constructor(args: readonly string[]) {
    this.#child = spawn(nriPluginProgram(), args, { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#ended = new Promise((resolve) => this.#child.once('exit', (code) => resolve(code)));
    assert.ok(this.#child.stdout);
    createInterface({ input: this.#child.stdout }).on('line', (line) =>
      this.told.push(JSON.parse(line) as Told),
    );
  }

  /** Starts it and waits until it has been told what exists. */
  static async start(
    index: string,
    name: string,
    script: Readonly<Record<string, PluginAnswer>> = {},
    ...options: readonly string[]
  ): Promise<NriPlugin> {
    const args = ['-idx', index, '-name', name, '-script', JSON.stringify(script), ...options];
    const plugin = new NriPlugin(args);
    await plugin.until('Synchronize');
    return plugin;
  }

  get ended(): Promise<number | null> {
    return this.#ended;
  }

  /** The first call of this kind that `matches`; waits for it. */
  async until(event: string, matches: (told: Told) => boolean = () => true): Promise<Told> {
    return await eventually(`${event} of an NRI plugin`, () =>
      this.told.find((told) => told.event === event && matches(told)),
    );
  }

  /** The kinds of the calls about a container or a pod, in order. */
  eventsOf(id: string): string[] {
    return this.told.filter(({ pod, container }) => (container ?? pod)?.id === id).map(({ event }) => event);
  }

  /** Lets the plugin ask for updates by itself; gives the ids of those that failed. */
  async update(updates: readonly object[]): Promise<Told> {
    const before = this.told.length;
    this.#child.stdin?.write(`update ${JSON.stringify(updates)}\n`);
    return await eventually('the answer to an update', () =>
      this.told.slice(before).find(({ event }) => event === 'updated'),
    );
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
