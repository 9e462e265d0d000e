/** The layer that nearly every test image begins with: busybox, users and groups, and the usual folders. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type BuiltLayer, buildLayer, type LayerEntry } from '../../../src/images/testing/build-image.ts';
import { copyOf, directory } from './rootfs.ts';

export const searchPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Users of the image as `/etc/passwd` has them: the well-known ones of Debian. */
export const users = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`;

/** Its groups, as `/etc/group` has them. */
export const groups = `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
kmem:x:9:
www-data:x:33:
operator:x:37:
users:x:100:
nogroup:x:65534:
`;

let layer: Promise<BuiltLayer> | undefined;

/** Made once in a process; builds busybox itself the first time of all. */
export async function busyboxLayer(): Promise<BuiltLayer> {
  layer ??= buildLayer(busyboxEntries());
  return await layer;
}

function busyboxEntries(): readonly LayerEntry[] {
  const program = execFileSync(join(import.meta.dirname, '../busybox.sh'), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const applets = execFileSync(program, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return [
    ...[
      'bin',
      'dev',
      'etc',
      'home',
      'proc',
      'sys',
      'usr',
      'usr/bin',
      'usr/local',
      'usr/local/bin',
      'var',
    ].map((name) => directory(name)),
    directory('root', 0o700),
    directory('tmp', 0o1777),
    directory('run'),
    directory('var/www'),
    directory('var/spool'),
    directory('var/spool/mail'),
    { name: 'var/run', type: 'symlink', linkname: '/run' },
    copyOf(program, 'bin/busybox'),
    // Hard links: a mount over one applet must not hide all of them. Some engines give a link's mode to the file.
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): LayerEntry => ({
        name: `bin/${name}`,
        type: 'link',
        linkname: 'bin/busybox',
        mode: 0o755,
      })),
    { name: 'etc/passwd', content: users },
    { name: 'etc/group', content: groups },
    { name: 'etc/shadow', mode: 0o600, content: 'root:*:::::::\n' },
  ];
}
