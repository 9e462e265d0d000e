import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildSpec } from './build-spec.ts';
import { buildExecProcess } from './exec-process.ts';
import { sampleContainer, sampleInput } from './testing/sample-input.ts';

const own = buildSpec({ ...sampleInput, container: { ...sampleContainer, tty: true } }).process;
const plain = buildSpec(sampleInput).process;

test('exec: another command, everything else as the container has it', () => {
  const exec = buildExecProcess(own, { command: ['sh', '-c', 'id'], tty: false });
  const { terminal: _, ...rest } = own;
  assert.deepEqual(exec, { ...rest, args: ['sh', '-c', 'id'] });
  assert.deepEqual(exec.capabilities?.inheritable, []);
});

test('exec: a terminal brings TERM unless the container has one', () => {
  const exec = buildExecProcess(plain, { command: ['sh'], tty: true });
  assert.equal(exec.terminal, true);
  assert.deepEqual(
    exec.env?.filter((line) => line.startsWith('TERM=')),
    ['TERM=xterm'],
  );
  const again = buildExecProcess({ ...plain, env: ['TERM=linux'] }, { command: ['sh'], tty: true });
  assert.deepEqual(again.env, ['TERM=linux']);
});

test('exec: refuses what cannot be run', () => {
  for (const command of [[], [''], ['a', 'b\0']]) {
    assert.throws(() => buildExecProcess(plain, { command, tty: false }), {
      kind: 'invalid-argument',
      message: /^command: /,
    });
  }
});
