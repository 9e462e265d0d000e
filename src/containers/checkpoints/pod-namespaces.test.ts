import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { numberOf, numbersOf, readImage, textOf } from './criu-images.ts';
import { adoptPodNamespaces } from './pod-namespaces.ts';

const directory = mkdtempSync(join(tmpdir(), 'gantry-namespaces-'));
after(() => rmSync(directory, { recursive: true }));

test('host name and IPC limits of a checkpoint become those of the pod, other images stay', async () => {
  const magic = Buffer.from('1234567');
  for (const name of ['utsns-12.img', 'ipcns-var-11.img', 'core-1.img'])
    writeFileSync(join(directory, name), Buffer.concat([Buffer.from([0x19]), magic, Buffer.from('old')]));
  const before = readFileSync(join(directory, 'core-1.img'));
  const sysctls = {
    'kernel.sem': '250 32000 32 128',
    'kernel.shm_rmid_forced': '1',
    'net.core.somaxconn': '9',
  };
  await adoptPodNamespaces(directory, { hostname: 'new', sysctls });
  assert.deepEqual(readFileSync(join(directory, 'core-1.img')), before);
  for (const name of ['utsns-12.img', 'ipcns-var-11.img']) {
    const bytes = readFileSync(join(directory, name));
    assert.equal(bytes.toString('latin1', 1, 8), '1234567');
    // As CRIU writes it, so that it is read the way of CRIU's images.
    bytes.writeUInt32LE(0x5456_4319);
    writeFileSync(join(directory, name), bytes);
  }
  const [uts = new Map()] = readImage(directory, 'utsns-12.img');
  assert.deepEqual([textOf(uts, 1), textOf(uts, 2)], ['new', '(none)']);
  const [ipc = new Map()] = readImage(directory, 'ipcns-var-11.img');
  assert.deepEqual(numbersOf(ipc, 1), [250, 32_000, 32, 128]);
  assert.deepEqual([numberOf(ipc, 2), numberOf(ipc, 9)], [8192, 1]);
  assert.deepEqual(ipc.get(6), [18_446_744_073_692_774_399n]);
});

test('an image that says to have gigabytes is not read', async () => {
  const file = join(directory, 'utsns-13.img');
  writeFileSync(file, Buffer.alloc(8, 7));
  truncateSync(file, 8 * 1024 ** 3);
  await adoptPodNamespaces(directory, { hostname: 'new', sysctls: {} });
  const bytes = readFileSync(file);
  assert.deepEqual(bytes.subarray(0, 8), Buffer.alloc(8, 7));
  assert.ok(bytes.length < 100);
});
