/** Every image that critest asks for. */
import {
  buildLayer,
  type BuiltLayer,
  type FixtureConfig,
  type LayerEntry,
} from '../../../src/images/testing/build-image.ts';
import { busyboxLayer, groups, users } from './busybox.ts';
import { digestImage } from './digest-image.ts';
import { type TestImage, testImage } from './image-set.ts';
import { httpdCommand, httpdLayer, nginxCommand, nginxLayer } from './servers.ts';
import { pauseCommand, pauseLayer, setuidLayer } from './small-programs.ts';

const e2e = 'registry.k8s.io/e2e-test-images';
const staging = 'gcr.io/k8s-staging-cri-tools';
const benchmarkTags = ['1', '1-glibc', '1-musl', '1-uclibc', '1.35.0-glibc'];

/** In the order in which they are pushed; they share busybox's layer. */
export async function critestImages(): Promise<readonly TestImage[]> {
  const busybox = await busyboxLayer();
  const shell = { Cmd: ['sh'] };
  const withFile = async (names: readonly string[], file: string): Promise<TestImage> =>
    testImage(names, [busybox, await buildLayer([{ name: file, content: `${file}\n` }])], shell);
  const withUser = (name: string, User: string): TestImage =>
    testImage([`${staging}/${name}:latest`], [busybox], { ...shell, User });
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

  return [
    testImage(
      [
        `${e2e}/busybox:1.29-2`,
        ...benchmarkTags.map((tag) => `public.ecr.aws/docker/library/busybox:${tag}`),
      ],
      [busybox],
      shell,
    ),
    ...(await serverImages(busybox, architecture)),
    testImage([`${e2e}/nonewprivs:1.3`], [busybox, await setuidLayer('nnp', 0o4755)], {
      Entrypoint: ['/nnp'],
    }),
    // Two images, because a spec counts the names of the first, and some engines pull the other for themselves.
    await pauseImage(['registry.k8s.io/pause:3.9', 'k8s.gcr.io/pause:3.9'], '3.9'),
    await pauseImage(['registry.k8s.io/pause:3.10'], '3.10'),
    ...(await Promise.all(
      ['1', '2', '3', 'latest'].map(
        async (name) => await withFile([`${staging}/test-image-${name}:latest`], name),
      ),
    )),
    await withFile(
      ['1', '2', '3'].map((tag) => `${staging}/test-image-tags:${tag}`),
      'tags',
    ),
    await withFile([`${staging}/test-image-tag:test`], 'test'),
    await withFile([`${staging}/test-image-tag:all`], 'all'),
    await digestImage(`${staging}/test-image-digest:fixed`),
    withUser('test-image-user-uid', '1002'),
    withUser('test-image-user-username', 'www-data'),
    withUser('test-image-user-uid-group', '1003:1004'),
    withUser('test-image-user-username-group', 'www-data:1004'),
    await predefinedGroupImage(busybox, { ...shell, User: '1000' }),
  ];
}

async function pauseImage(names: readonly string[], version: string): Promise<TestImage> {
  const config = { Entrypoint: pauseCommand, User: '65535:65535', Labels: { version } };
  return testImage(names, [await pauseLayer()], config);
}

async function serverImages(busybox: BuiltLayer, architecture: string): Promise<readonly TestImage[]> {
  const nginx = { Cmd: nginxCommand, StopSignal: 'SIGQUIT' };
  return [
    testImage([`${e2e}/nginx:1.14-2`], [busybox, await nginxLayer(80)], {
      ...nginx,
      ExposedPorts: { '80/tcp': {} },
    }),
    testImage(
      [`${staging}/hostnet-nginx-${architecture}:latest`],
      [busybox, await nginxLayer(12_003)],
      nginx,
    ),
    testImage([`${e2e}/httpd:2.4.39-4`], [busybox, await httpdLayer()], {
      Cmd: httpdCommand,
      StopSignal: 'SIGWINCH',
      ExposedPorts: { '80/tcp': {} },
    }),
  ];
}

async function predefinedGroupImage(busybox: BuiltLayer, config: FixtureConfig): Promise<TestImage> {
  const entries: LayerEntry[] = [
    { name: 'etc/passwd', content: `${users}default-user:x:1000:1000::/home/default-user:/bin/sh\n` },
    {
      name: 'etc/group',
      content: `${groups}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n`,
    },
  ];
  return testImage(
    [`${staging}/test-image-predefined-group:latest`],
    [busybox, await buildLayer(entries)],
    config,
  );
}
