/** The images that the workloads use, from this machine's Debian packages, in the registry that both engines pull from. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import {
  buildImage,
  buildLayer,
  type LayerEntry,
  pushImage,
} from '../../../src/images/testing/build-image.ts';

/** A pod's web server listens here. */
export const webPort = 8080;
const searchPath = 'PATH=/bin';

export const busyboxReference = (registry: string): string => `${registry}/bench/busybox:latest`;
export const pauseReference = (registry: string): string => `${registry}/bench/pause:latest`;

/** Pushes all of them to `host:port`. */
export async function pushImages(registry: string): Promise<void> {
  await push(registry, 'bench/busybox', [
    { name: 'bin/', type: 'directory', mode: 0o755 },
    { name: 'www/', type: 'directory', mode: 0o755 },
    { name: 'www/index.html', content: 'served\n' },
    { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
    ...['sh', 'sleep', 'true', 'httpd', 'top'].map((name): LayerEntry => ({
      name: `bin/${name}`,
      type: 'symlink',
      linkname: 'busybox',
    })),
  ]);
  // Named so that its processes can be told from those of containers.
  await push(registry, 'bench/pause', programEntries('/usr/bin/catatonit', 'pause-process'), [
    '/pause-process',
    '-P',
  ]);
}

async function push(
  registry: string,
  repository: string,
  entries: readonly LayerEntry[],
  command: readonly string[] = ['sleep', '1000000'],
): Promise<void> {
  const layer = await buildLayer(entries);
  const image = buildImage({ layers: [layer], config: { Env: [searchPath], Cmd: command } });
  await pushImage({ registryUrl: `http://${registry}`, repository, tag: 'latest' }, image);
}

/** A program under another name, and the libraries that it needs. */
function programEntries(program: string, name: string): LayerEntry[] {
  const listed = execFileSync('sh', ['-c', 'ldd "$0" 2>/dev/null || true', program], { encoding: 'utf8' });
  const libraries = [...listed.matchAll(/(\/\S+) \(/g)].map(([, path = '']) => path);
  return [
    { name, mode: 0o755, content: readFileSync(program) },
    ...libraries.map((path) => ({ name: path.slice(1), mode: 0o755, content: readFileSync(path) })),
  ];
}
