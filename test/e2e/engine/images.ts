/** Images for end-to-end tests, made from this machine's Debian packages: busybox, and nginx with its libraries. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import {
  buildImage,
  buildLayer,
  type FixtureConfig,
  type LayerEntry,
  pushImage,
} from '../../../src/images/testing/build-image.ts';

const searchPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** References of what `pushTestImages` pushed. */
export interface TestImages {
  /** Every applet of Debian's static busybox; user and group files with a few entries. */
  readonly busybox: string;
  /** Debian's nginx on port 80 of IPv4 and IPv6, its logs on stdout and stderr; has busybox as well. */
  readonly web: string;
}

/** What the web server answers to `GET /`. */
export const webPage = '<title>Served by nginx in a pod</title>\n';

/** The programs that images are made of and this machine lacks; empty when all are there. */
export function missingImageSources(): readonly string[] {
  return ['/bin/busybox', '/usr/sbin/nginx', '/usr/bin/socat', '/usr/bin/docker-registry'].filter(
    (path) => !existsSync(path),
  );
}

/** Makes the images and pushes them to the registry at `host` (`127.0.0.1:5000`). */
export async function pushTestImages(host: string): Promise<TestImages> {
  const busybox = await push(host, 'library/busybox', busyboxEntries(), { Cmd: ['sh'] });
  const web = await push(host, 'library/web', [...busyboxEntries(), ...nginxEntries()], {
    Cmd: ['nginx'],
    StopSignal: 'SIGQUIT',
    ExposedPorts: { '80/tcp': {} },
  });
  return { busybox, web };
}

/** Pushes one more image: busybox with these entries on top. Returns its reference. */
export async function pushBusyboxVariant(
  host: string,
  repository: string,
  image: { readonly entries?: readonly LayerEntry[]; readonly config?: FixtureConfig },
): Promise<string> {
  return await push(host, repository, [...busyboxEntries(), ...(image.entries ?? [])], image.config ?? {});
}

async function push(
  host: string,
  repository: string,
  entries: readonly LayerEntry[],
  config: FixtureConfig,
): Promise<string> {
  const image = buildImage({ layers: [await buildLayer(entries)], config: { Env: [searchPath], ...config } });
  await pushImage({ registryUrl: `http://${host}`, repository, tag: 'latest' }, image);
  return `${host}/${repository}:latest`;
}

function directory(name: string, mode = 0o755): LayerEntry {
  return { name: `${name}/`, type: 'directory', mode };
}

function busyboxEntries(): readonly LayerEntry[] {
  const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return [
    ...['bin', 'etc', 'var', 'run', 'proc'].map((name) => directory(name)),
    directory('tmp', 0o1777),
    directory('root', 0o700),
    { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): LayerEntry => ({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' })),
    { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n' },
    { name: 'etc/group', content: 'root:x:0:\ntty:x:5:\nwww-data:x:33:\n' },
  ];
}

const nginxConfig = `daemon off;
user root;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events {}
http {
  access_log /dev/stdout;
  client_max_body_size 0;
  server { listen 80; listen [::]:80; root /www; }
}
`;

function nginxEntries(): readonly LayerEntry[] {
  return [
    ...programEntries('/usr/sbin/nginx'),
    ...['var/log/nginx', 'var/lib/nginx', 'www'].map((name) => directory(name)),
    { name: 'etc/nginx/nginx.conf', content: nginxConfig },
    { name: 'www/index.html', content: webPage },
  ];
}

/** A program of this machine and the libraries that it needs, at the places where they are here. */
export function programEntries(program: string): readonly LayerEntry[] {
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' });
  const files = new Set([...libraries.matchAll(/(\/\S+) \(/g)].map(([, path = '']) => path));
  return [program, ...files].map((path) => ({
    name: path.slice(1),
    mode: 0o755,
    content: readFileSync(realpathSync(path)),
  }));
}
