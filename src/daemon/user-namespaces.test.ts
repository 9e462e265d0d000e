import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../lib/errors.ts';
import { PathWorkers } from '../linux/path-worker.ts';
import type { PathArgs, PathOperation, PathResult } from '../linux/path-operations.ts';
import { Poller } from '../linux/poll.ts';
import { findProgram } from '../linux/program.ts';
import { loadRuntime } from '../oci/choose-runtime.ts';
import { createLog } from '../telemetry/log.ts';
import { UserNamespaceTrials } from './user-namespaces.ts';

const base = mkdtempSync('/var/lib/gantry/userns-');
// Users of a namespace pass through it.
chmodSync(base, 0o711);
const directories = {
  snapshots: join(base, 'overlay'),
  state: join(base, 'state'),
  runtimes: join(base, 'runtime'),
};
for (const path of [directories.snapshots, join(directories.state, 'mounts'), directories.runtimes])
  mkdirSync(path, { recursive: true });
const poller = new Poller();
after(async () => {
  await poller[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});

/** Those of a node that is too busy at first. */
class BusyPaths extends PathWorkers {
  calls = 0;
  #isBusy = true;

  override async call<O extends PathOperation>(
    operation: O,
    args: PathArgs<O>,
    timeoutMs: number,
  ): Promise<PathResult<O>> {
    this.calls += 1;
    if (this.#isBusy) throw new EngineError('deadline-exceeded', 'no answer in time');
    return await super.call(operation, args, timeoutMs);
  }

  endBusyTime(): void {
    this.#isBusy = false;
  }
}

test('a trial that ran out of time is repeated, and its answer is kept then', async () => {
  await using paths = new BusyPaths();
  const log = createLog('error');
  await using trials = new UserNamespaceTrials({ directories, poller, paths, log, retryAfterMs: 0 });
  const runtime = await loadRuntime(
    { rootDirectory: directories.runtimes, systemdCgroup: false },
    { name: 'crun', path: findProgram('crun') },
  );
  const slow = await trials.problemsOf(runtime);
  assert.deepEqual(slow, { podNetwork: 'no answer in time', nodeNetwork: 'no answer in time' });
  paths.endBusyTime();
  // Nobody waits for the second one.
  assert.deepEqual(await trials.problemsOf(runtime), slow);
  while (Object.keys(await trials.problemsOf(runtime)).length > 0) await sleep(20);
  const { calls } = paths;
  assert.deepEqual(await trials.problemsOf(runtime), {});
  assert.equal(paths.calls, calls);
});
