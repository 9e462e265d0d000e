/** A whole node for a test file: a registry with the images, the daemon, a directory for the test's own files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDockerRegistry, type DockerRegistry } from '../../fixtures/docker-registry.ts';
import { DaemonProcess } from './daemon.ts';
import { missingImageSources, pushTestImages, type TestImages } from './images.ts';

export interface TestNode extends AsyncDisposable {
  readonly registry: DockerRegistry;
  readonly images: TestImages;
  readonly daemon: DaemonProcess;
  /** For the test's own files; removed at the end. */
  readonly directory: string;
}

/**
 * Why the engine cannot be tested here, or undefined. It uses its standard places (/run/gantry, /var/lib/gantry), so a
 * machine that may have an engine of its own is refused.
 */
export function engineSkipReason(): string | undefined {
  if (process.env['GANTRY_TEST_HOST'] === undefined)
    return 'needs a node of its own: run it through hack/test, or below hack/node';
  const missing = missingImageSources();
  return missing.length === 0 ? undefined : `this machine lacks ${missing.join(', ')}`;
}

/** Starts all of it. `toml` is the daemon's configuration file. */
export async function startTestNode(toml = ''): Promise<TestNode> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'gantry-e2e-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const registry = stack.use(await startDockerRegistry());
  const images = await pushTestImages(registry.host);
  const daemon = stack.use(await DaemonProcess.start(directory, toml));
  const owned = stack.move();
  return {
    registry,
    images,
    daemon,
    directory,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}
