/** A monitor that neither works nor ends: its container can still be stopped and removed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { signalProcess } from '../../src/linux/pidfd.ts';
import { type ContainerExit, ExitWatcher } from '../../src/oci/exits.ts';
import { createContainer } from '../../src/oci/monitor.ts';
import { deleteContainer, startContainer } from '../../src/oci/runtime.ts';
import { makeOciFixture } from './oci-fixture.ts';

const graceMs = 200;

test(
  'StopContainer DeadlineExceeded for ever (containerd#10755, containerd#13849): a monitor that hangs is killed after its container has ended',
  { timeout: 60_000 },
  async () => {
    await using fixture = await makeOciFixture();
    const { deps, exitDirectory } = fixture;
    using watcher = new ExitWatcher(
      { poller: deps.poller, onError: (error) => assert.fail(String(error)) },
      exitDirectory,
      graceMs,
    );
    watcher.start();
    const bundle = fixture.bundle('hung', ['sleep', '1000']);
    const { process, monitor } = await createContainer(deps, {
      id: 'hung',
      bundle,
      logPath: join(bundle, 'log'),
      terminal: false,
      stdin: 'none',
    });
    const exit = new Promise<ContainerExit>((resolve) => void watcher.exits.subscribe(resolve));
    watcher.track('hung', { process, monitor });
    await startContainer(deps, { id: 'hung' });
    const identity = (one: typeof process) => ({ pid: one.pid, startTicks: BigInt(one.startTicks) });
    assert.ok(signalProcess(identity(monitor), 'SIGSTOP'));
    assert.ok(signalProcess(identity(process), 'SIGKILL'));
    const { exitCode, lostReason } = await exit;
    assert.equal(exitCode, 255);
    assert.match(lostReason ?? '', /did not tell the exit code, and was killed/);
    assert.ok(hasEnded(monitor.pid), 'the monitor');
    await deleteContainer(deps, { id: 'hung', hasEnded: false });
    watcher.forget('hung');
  },
);

function hasEnded(pid: number): boolean {
  return !existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
}
