/** Everything a test of image operations needs, in a directory of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RecordDatabase } from '../../lib/records.ts';
import { type Images, type ImagesOptions, openImages } from '../images.ts';
import { MemoryLayers } from './memory-layers.ts';
import { TestRegistry } from './registry.ts';

export interface TestImages extends AsyncDisposable {
  readonly images: Images;
  readonly layers: MemoryLayers;
  readonly registry: TestRegistry;
  readonly directory: string;
  /** A second engine on the same directory, database and layers: what a restart of the daemon finds. */
  reopen(): Promise<Images>;
}

/** Retries are quick, silence is noticed after 300 ms, hosts.toml files are read from `<directory>/certs.d`. */
export async function openTestImages(options: Partial<ImagesOptions> = {}): Promise<TestImages> {
  const stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'gantry-images-'));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const database = stack.use(RecordDatabase.open(join(directory, 'state.db')));
  const registry = stack.use(await TestRegistry.start());
  const layers = new MemoryLayers();
  const open = async (): Promise<Images> => {
    const images = await openImages({
      root: join(directory, 'images'),
      database,
      layers,
      certsRoots: [join(directory, 'certs.d')],
      environment: {},
      pinnedImages: [],
      maxDownloads: 6,
      maxDownloadsPerPull: 3,
      pullProgressTimeoutMs: 300,
      retry: { attempts: 3, baseDelayMs: 2, maxDelayMs: 10, maxRetryAfterMs: 2000 },
      ...options,
    });
    stack.use(images);
    return images;
  };
  const images = await open();
  return {
    images,
    layers,
    registry,
    directory,
    reopen: open,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
