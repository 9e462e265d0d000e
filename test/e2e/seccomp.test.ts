/** Localhost seccomp profiles: what each action does to a program that makes a forbidden call, with both of Debian's runtimes. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { describeNode } from './engine/describe-node.ts';
import { createIn, exec, removePod, runPod, startIn, type StartedPod } from './engine/pod-steps.ts';
import { idleSpec } from './engine/pods.ts';

const sigsys = 128 + 31;

/** What `mkdir /tmp/made` ends with, and what it says. */
const outcomes: readonly [action: string, errnoRet: number | undefined, exitCode: number, says: RegExp][] = [
  ['SCMP_ACT_ALLOW', undefined, 0, /^$/],
  ['SCMP_ACT_LOG', undefined, 0, /^$/],
  ['SCMP_ACT_ERRNO', undefined, 1, /Operation not permitted/],
  ['SCMP_ACT_ERRNO', 28, 1, /No space left/],
  // Nobody traces it.
  ['SCMP_ACT_TRACE', undefined, 1, /Function not implemented/],
  ['SCMP_ACT_TRAP', undefined, sigsys, /Bad system call/],
  ['SCMP_ACT_KILL', undefined, sigsys, /Bad system call/],
  ['SCMP_ACT_KILL_THREAD', undefined, sigsys, /Bad system call/],
  ['SCMP_ACT_KILL_PROCESS', undefined, sigsys, /Bad system call/],
];

for (const runtime of ['crun', 'runc']) {
  const toml = `[runtime]\ndefault_handler = "${runtime}"\n`;
  describeNode(`seccomp actions with ${runtime}`, { toml }, ({ cri, node, assertEmpty }) => {
    let pod: StartedPod;

    before(async () => {
      pod = await runPod(cri, `seccomp-${runtime}`);
    });

    function withProfile(name: string, profile: object): ReturnType<typeof idleSpec> {
      const localhostRef = join(node.directory, `${name}.json`);
      writeFileSync(localhostRef, JSON.stringify(profile));
      const seccomp = { profileType: 'Localhost', localhostRef };
      return idleSpec(name, node.images.busybox, { linux: { securityContext: { seccomp } } });
    }

    for (const [index, [action, errnoRet, exitCode, says]] of outcomes.entries()) {
      test(`${action}${errnoRet === undefined ? '' : ` with errno ${errnoRet}`}`, async () => {
        const rule = { names: ['mkdir', 'mkdirat'], action, ...(errnoRet === undefined ? {} : { errnoRet }) };
        const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] };
        const id = await startIn(cri, pod, withProfile(`c${index}`, profile));
        // One shell more: it tells of the signal, and makes of it an exit code.
        const ended = await exec(cri, id, 'sh', '-c', 'sh -c "mkdir /tmp/made; exit \\$?" 2>&1');
        assert.equal(ended.exitCode, exitCode, ended.stdout);
        assert.match(ended.stdout, says);
      });
    }

    test('SCMP_ACT_NOTIFY needs somebody who is notified', async () => {
      const rule = { names: ['mkdir'], action: 'SCMP_ACT_NOTIFY' };
      const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] };
      await assert.rejects(createIn(cri, pod, withProfile('notify', profile)), /nobody would be notified/);
    });

    test('an action that does not exist is refused by name', async () => {
      const rule = { names: ['mkdir'], action: 'SCMP_ACT_PERHAPS' };
      const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] };
      await assert.rejects(createIn(cri, pod, withProfile('perhaps', profile)), /syscalls\.0\.action/);
    });

    test('nothing is left', async () => {
      await removePod(cri, pod.id);
      await assertEmpty();
    });
  });
}
