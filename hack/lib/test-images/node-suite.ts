/** Every image that Kubernetes' node suite (e2e_node) asks for in the specs that concern an engine. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import {
  type BuiltBlob,
  type BuiltImage,
  type BuiltLayer,
  buildImage,
  buildLayer,
  type LayerEntry,
} from '../../../src/images/testing/build-image.ts';
import { busyboxLayer, groups, users } from './busybox.ts';
import { type TestImage, testImage } from './image-set.ts';
import { localhostCertificate } from './localhost-certificate.ts';
import { copyOf, directory, preferredPrograms } from './rootfs.ts';
import { nginxCommand, nginxLayer } from './servers.ts';
import { pauseCommand, pauseLayer, setuidLayer } from './small-programs.ts';

const e2e = 'registry.k8s.io/e2e-test-images';

/** What specs run in agnhost for want of an applet, or of an option of one. */
const agnhostPrograms = [
  '/bin/bash',
  '/usr/bin/curl',
  '/usr/bin/dig',
  '/bin/nc.openbsd',
  '/bin/ip',
  '/bin/hostname',
];

/** In the order in which they are pushed; they share busybox's layer. */
export async function nodeSuiteImages(): Promise<readonly TestImage[]> {
  const busybox = await busyboxLayer();
  const shell = { Cmd: ['sh'] };
  const pause = buildImage({
    layers: [await pauseLayer()],
    config: { Entrypoint: pauseCommand, User: '65535:65535' },
  });
  const nginx = [busybox, await nginxLayer(80)];
  const glibc = await buildLayer(preferredPrograms('/bin/hostname', '/usr/bin/dig', '/usr/bin/nslookup'));
  return [
    testImage(
      [`${e2e}/busybox:1.37.0-1`, `${e2e}/busybox:1.36.1-1`, `${e2e}/ipc-utils:1.4`],
      [busybox],
      shell,
    ),
    testImage([`${e2e}/nonroot:1.5`], [busybox], { ...shell, User: '1234' }),
    testImage([`${e2e}/nonewprivs:1.4`], [busybox, await setuidLayer('usr/local/bin/nnp', 0o6755)], {
      Cmd: ['nnp'],
    }),
    testImage([`${e2e}/glibc-dns-testing:2.0.0`], [busybox, glibc], shell),
    testImage([`${e2e}/nginx:1.15-4`, `${e2e}/nginx:1.27-0`], nginx, {
      Cmd: nginxCommand,
      StopSignal: 'SIGQUIT',
      ExposedPorts: { '80/tcp': {} },
    }),
    { names: ['registry.k8s.io/pause:3.10.2'], image: pause },
    ...(await agnhostImages(busybox, pause)),
  ];
}

async function agnhostImages(busybox: BuiltLayer, pause: BuiltImage): Promise<readonly TestImage[]> {
  const program = execFileSync(join(import.meta.dirname, '../../kubelet'), ['agnhost'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const certificate = localhostCertificate();
  const files = await buildLayer([
    ...preferredPrograms(...agnhostPrograms).map((entry) =>
      entry.name.endsWith('/nc.openbsd') ? { ...entry, name: 'usr/local/bin/nc' } : entry,
    ),
    { name: 'bin/bash', type: 'symlink', linkname: '/usr/local/bin/bash' },
    directory('uploads'),
    { name: 'localhost.crt', content: certificate.certificate },
    { name: 'localhost.key', content: certificate.key },
    // A spec of image volumes looks for the name of the distribution that the original is made of.
    { name: 'etc/os-release', content: 'NAME="Debian, in place of Alpine Linux"\nID=debian\n' },
    {
      name: 'etc/passwd',
      content: `${users}user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n`,
    },
    {
      name: 'etc/group',
      content: `${groups}user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n`,
    },
    ...fakeRegistryEntries('pause', 'testing', pause),
  ]);
  const agnhost = await buildLayer([
    copyOf(program, 'agnhost'),
    { name: 'agnhost-2', type: 'symlink', linkname: 'agnhost' },
  ]);
  const ports = ['80', '8080', '8081', '9376', '5000'];
  const config = {
    Entrypoint: ['/agnhost'],
    ExposedPorts: Object.fromEntries(ports.map((port) => [`${port}/tcp`, {}])),
  };
  const layers = [busybox, files, agnhost];
  const kitten = await buildLayer([
    { name: 'data.json', content: '{"image": "kitten.jpg"}\n' },
    { name: 'kitten.jpg', content: 'a kitten\n' },
  ]);
  return [
    testImage([`${e2e}/agnhost:2.63.0`, `${e2e}/agnhost:2.55`], layers, { ...config, Cmd: ['pause'] }),
    testImage([`${e2e}/kitten:1.8`], [...layers, kitten], { ...config, Cmd: ['test-webserver'] }),
  ];
}

/** What `agnhost fake-registry-server` serves: an image below /var/registry, in the layout that it reads. */
function fakeRegistryEntries(repository: string, tag: string, image: BuiltImage): readonly LayerEntry[] {
  const root = `var/registry/${repository}`;
  const placeOf = (kind: string, blob: BuiltBlob): string => {
    const hex = blob.digest.slice('sha256:'.length);
    return `${root}/${kind}/sha256/${hex.slice(0, 2)}/${hex}/data`;
  };
  return [
    { name: `${root}/manifests/${tag}`, content: `${image.manifest.digest}\n` },
    { name: placeOf('manifests', image.manifest), content: image.manifest.bytes },
    ...[image.config, ...image.layers].map((blob) => ({ name: placeOf('blobs', blob), content: blob.bytes })),
  ];
}
