import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import { deviceNumbers, packDevice } from './device-number.ts';

test('a device of this machine', () => {
  assert.deepEqual(deviceNumbers(statSync('/dev/urandom').rdev), { major: 1, minor: 9 });
});

test('numbers of any width come back as they were', () => {
  for (const major of [0, 8, 0xfff, 0x1000, 0xffff_ffff])
    for (const minor of [0, 0xff, 0x100, 0xf_ffff, 0xffff_ffff])
      assert.deepEqual(deviceNumbers(packDevice({ major, minor })), { major, minor });
  assert.equal(packDevice({ major: 0x1259, minor: 0x34567 }), 0x0000_1000_3452_5967n);
});
