/** A set of plugins behind a real socket, and test plugins that connect to it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigureResponse, Container, PodSandbox, SynchronizeResponse } from '../../gen/nri/v1alpha1/api.ts';
import { createLog } from '../../telemetry/log.ts';
import { HangRecord } from '../hang-record.ts';
import { listenForPlugins } from '../listen.ts';
import { PluginSet } from '../plugin-set.ts';
import { registerPlugin, type RegisterDeps } from '../register.ts';
import { TestPlugin, type Answers } from './plugin.ts';

const log = createLog('error');
log.level = 'silent';
export const pod = PodSandbox.fromPartial({ id: 'p1', name: 'pod' });
export const container = (id = 'c1') => Container.fromPartial({ id, podSandboxId: 'p1', env: ['A=1'] });
export const { signal } = new AbortController();
export const fail = (what: unknown): void => assert.fail(String(what));
/** An answer with nothing in it, after noting something. */
export const noted = (list: unknown[], what: unknown): object => {
  list.push(what);
  return {};
};

interface PluginEngine {
  readonly plugins: PluginSet;
  readonly socket: string;
  readonly deps: RegisterDeps;
  readonly connect: (index: string, name: string, answers?: Answers) => TestPlugin;
}

export async function engine(t: TestContext, changes: Partial<RegisterDeps> = {}): Promise<PluginEngine> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-nri-'));
  const stack = new AsyncDisposableStack();
  t.after(async () => {
    await stack.disposeAsync();
    rmSync(directory, { recursive: true });
  });
  const plugins = new PluginSet(log);
  stack.defer(async () => await plugins.shutDown(100));
  const deps: RegisterDeps = {
    log,
    plugins,
    hangs: new HangRecord(),
    runtime: { name: 'gantry', version: '1' },
    registrationTimeoutMs: 300,
    requestTimeoutMs: 300,
    existing: async () => ({ pods: [], containers: [] }),
    apply: async () => [],
    ...changes,
  };
  const socket = join(directory, 'nri', 'nri.sock');
  stack.use(await listenForPlugins(socket, (connection) => void registerPlugin(deps, connection), fail));
  const connect = (index: string, name: string, answers: Answers = {}): TestPlugin => {
    const plugin = stack.use(
      new TestPlugin(socket, {
        configure: () => ConfigureResponse.fromPartial({}),
        synchronize: ({ more }) => SynchronizeResponse.fromPartial({ more }),
        ...answers,
      }),
    );
    void plugin.register(index, name).catch(() => undefined);
    return plugin;
  };
  return { plugins, socket, deps, connect };
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2);
}
