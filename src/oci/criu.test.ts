import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { bindMount, unmount } from '../linux/mount.ts';
import { enterPrivateMounts } from '../linux/private-mounts.ts';
import { whyNoCheckpoints, whyNoCriu } from './criu.ts';

/** The folders in which the runtimes look; each is an empty one here, and this machine's CRIU is out of sight. */
enterPrivateMounts();
const base = mkdtempSync(join(tmpdir(), 'gantry-criu-'));
const place = '/usr/local/sbin';
bindMount(base, place);
for (const file of ['/usr/sbin/criu', '/usr/bin/criu']) if (existsSync(file)) bindMount('/dev/null', file);
after(() => {
  unmount(place, { lazy: true });
  rmSync(base, { recursive: true });
});
beforeEach(() => rmSync(join(base, 'criu'), { force: true }));

/** A program that answers each of these commands, its arguments in one text, and fails at any other. */
function program(name: string, answers: Readonly<Record<string, string>>): string {
  const cases = Object.entries(answers).map(([args, script]) => `"${args}") ${script} ;;`);
  const path = join(base, name);
  writeFileSync(
    path,
    `#!/bin/sh\ncase "$*" in ${cases.join('\n')} *) echo "unknown: $*" >&2; exit 1 ;; esac\n`,
  );
  chmodSync(path, 0o755);
  return path;
}

const working = { check: 'echo Looks good.' };
const runtime = (path: string) => ({ name: 'some', path, version: '1.2.3' });

test('a host without CRIU is told how to get it', async () => {
  assert.match((await whyNoCriu()) ?? '', /^CRIU is not installed: apt-get install criu$/);
  mkdirSync(join(base, 'criu'));
  assert.match((await whyNoCriu()) ?? '', /not installed/, 'a folder of that name is no program');
  rmSync(join(base, 'criu'), { recursive: true });
});

test('a CRIU that works is no reason against', async () => {
  program('criu', working);
  assert.equal(await whyNoCriu(), undefined);
});

test('one that does not know the kernel says its version and its own words', async () => {
  const error = 'Error (criu/cr-check.c:1335): Kernel does not support something';
  program('criu', {
    check: `echo 'Warn (x.c:1): careful' >&2; echo '${error}' >&2; exit 1`,
    '--version': 'echo Version: 3.17.1; echo GitID: v3.17.1',
  });
  assert.equal(
    await whyNoCriu(),
    'CRIU 3.17.1 does not work with this kernel: Kernel does not support something',
  );
});

test('one that says nothing, or very much, or cannot even be run', async () => {
  program('criu', { check: 'exit 3' });
  assert.equal(
    await whyNoCriu(),
    'CRIU of unknown version does not work with this kernel: criu check ends with exit code 3',
  );
  program('criu', { check: "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1" });
  assert.ok(((await whyNoCriu()) ?? '').length < 300);
  writeFileSync(join(base, 'criu'), 'no program', { mode: 0o755 });
  assert.match((await whyNoCriu()) ?? '', /does not work with this kernel/);
});

test('what is wrong with CRIU is said before the runtime is asked', async () => {
  assert.match((await whyNoCheckpoints(runtime('/nowhere'))) ?? '', /CRIU is not installed/);
});

const builds: readonly (readonly [
  what: string,
  answers: Readonly<Record<string, string>>,
  isAble: boolean,
])[] = [
  [
    'crun whose features say so',
    { features: `echo '{"annotations":{"run.oci.crun.checkpoint.enabled":"true"}}'` },
    true,
  ],
  [
    'runc whose features say so',
    { features: `echo '{"annotations": {"org.opencontainers.runc.checkpoint.enabled": "true"}}'` },
    true,
  ],
  [
    'a runtime whose features deny it, whatever its version lists',
    {
      features: `echo '{"annotations":{"run.oci.crun.checkpoint.enabled":"false"}}'`,
      '--version': 'echo crun version 1.21; echo +SYSTEMD +CRIU',
    },
    false,
  ],
  ['an old crun with CRIU', { '--version': 'echo crun version 1.8.1; echo +SYSTEMD +CRIU +YAJL' }, true],
  ['an old crun without', { '--version': 'echo crun version 1.8.1; echo +SYSTEMD +YAJL' }, false],
  ['an old runc, which always has it', { '--version': 'echo runc version 1.0.3' }, true],
  [
    'features that do not mention it',
    { features: `echo '{"annotations":{}}'`, '--version': 'echo youki 0.5' },
    false,
  ],
  ['a runtime that answers nothing', {}, false],
];

for (const [what, answers, isAble] of builds)
  test(`${what}: ${isAble ? 'it can' : 'it cannot, and is named'}`, async () => {
    program('criu', working);
    const path = program('runtime', answers);
    const reason = `the runtime some (${path} 1.2.3) is built without support for CRIU`;
    assert.equal(await whyNoCheckpoints(runtime(path)), isAble ? undefined : reason);
  });

test('a runtime that is not there cannot', async () => {
  program('criu', working);
  assert.match((await whyNoCheckpoints(runtime(join(base, 'absent')))) ?? '', /built without support/);
});
