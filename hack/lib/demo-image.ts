/**
 * Makes the demo's image from Debian's static busybox and pushes it to a registry over HTTP:
 * `demo-image.ts HOST:PORT/NAME:TAG`. Does nothing when the registry has it. The same busybox makes the same digests.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

const applets = [
  'cat',
  'echo',
  'env',
  'hostname',
  'httpd',
  'id',
  'ip',
  'ls',
  'nc',
  'ps',
  'sh',
  'sleep',
  'top',
  'wget',
];
const page = 'Hello from a web server in a pod on Gantry.\n';
const command = 'echo "the web server listens on port 80"; exec httpd -f -vv -p 80 -h /www';
const mediaTypes = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
};

const digestOf = (blob: Buffer): string => `sha256:${createHash('sha256').update(blob).digest('hex')}`;

async function layerTar(): Promise<Buffer> {
  const tar = pack();
  const mtime = new Date(0);
  const whole = buffer(tar);
  for (const name of ['bin', 'etc', 'www', 'tmp']) {
    tar.entry({ name, type: 'directory', mode: name === 'tmp' ? 0o1777 : 0o755, mtime });
  }
  tar.entry({ name: 'bin/busybox', mode: 0o755, mtime }, readFileSync('/bin/busybox'));
  for (const applet of applets) {
    tar.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox', mtime });
  }
  tar.entry(
    { name: 'etc/passwd', mtime },
    'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  tar.entry({ name: 'etc/group', mtime }, 'root:x:0:\nnogroup:x:65534:\n');
  tar.entry({ name: 'www/index.html', mtime }, page);
  tar.finalize();
  return await whole;
}

async function request(url: string | URL, init: RequestInit, expected: readonly number[]): Promise<Response> {
  const response = await fetch(url, init);
  if (expected.includes(response.status)) return response;
  throw new Error(`${init.method ?? 'GET'} ${String(url)}: ${response.status} ${await response.text()}`);
}

async function pushBlob(repository: string, blob: Buffer): Promise<void> {
  const digest = digestOf(blob);
  const known = await request(`${repository}/blobs/${digest}`, { method: 'HEAD' }, [200, 404]);
  if (known.status === 200) return;
  const upload = await request(`${repository}/blobs/uploads/`, { method: 'POST' }, [202]);
  const location = new URL(upload.headers.get('location') ?? '', upload.url);
  location.searchParams.set('digest', digest);
  await request(location, { method: 'PUT', body: new Uint8Array(blob) }, [201]);
}

async function push(reference: string): Promise<void> {
  const match = /^([^/]+)\/(.+):([^:/]+)$/.exec(reference);
  if (!match) throw new Error(`${reference} is not HOST:PORT/NAME:TAG`);
  const [, host, name, tag] = match;
  const repository = `http://${host}/v2/${name}`;
  const manifestUrl = `${repository}/manifests/${tag}`;
  const tar = await layerTar();
  const layer = gzipSync(tar, { level: 6 });
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      created: new Date(0).toISOString(),
      config: {
        Env: ['PATH=/bin'],
        Cmd: ['/bin/sh', '-c', command],
        ExposedPorts: { '80/tcp': {} },
        // httpd heeds no SIGTERM as a container's first process.
        StopSignal: 'SIGKILL',
      },
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
      history: [{ created: new Date(0).toISOString(), created_by: 'hack/lib/demo-image.ts' }],
    }),
  );
  const describe = (mediaType: string, blob: Buffer) => ({
    mediaType,
    digest: digestOf(blob),
    size: blob.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: describe(mediaTypes.config, config),
      layers: [describe(mediaTypes.layer, layer)],
    }),
  );
  const accept = { accept: mediaTypes.manifest };
  const known = await request(manifestUrl, { method: 'HEAD', headers: accept }, [200, 404]);
  if (known.headers.get('docker-content-digest') === digestOf(manifest)) return;
  await pushBlob(repository, layer);
  await pushBlob(repository, config);
  const headers = { 'content-type': mediaTypes.manifest };
  await request(manifestUrl, { method: 'PUT', headers, body: new Uint8Array(manifest) }, [201]);
}

await push(process.argv[2] ?? '');
