import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readCdiSpecs } from './cdi-files.ts';
import { resolveCdi } from './spec/cdi.ts';

const base = mkdtempSync(join(tmpdir(), 'gantry-cdi-'));
after(() => rmSync(base, { recursive: true }));
let count = 0;

function directoryWith(files: Readonly<Record<string, string>>): string {
  count += 1;
  const directory = join(base, String(count));
  mkdirSync(directory);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

const yaml = `---
# what nvidia-ctk and its like write
cdiVersion: 0.5.0
kind: vendor.com/gpu
devices:
- name: "0"
  containerEdits: &edits
    deviceNodes:
    - path: /dev/gpu0
      type: c
      major: 195
      minor: 0
      fileMode: 0666
    env: [GPU=0]
- name: all
  containerEdits: *edits
`;
const json = JSON.stringify({
  cdiVersion: '0.6.0',
  kind: 'other.com/nic',
  devices: [{ name: 'a', containerEdits: { env: ['NIC=a'] } }],
});

test('CDI files are JSON or YAML, by their names', async () => {
  const directory = directoryWith({ 'gpu.yaml': yaml, 'nic.json': json, 'gpu.yaml.bak': '{', README: 'x' });
  const { specs, failures } = readCdiSpecs([directory, join(base, 'none')]);
  assert.deepEqual(failures, []);
  const edits = await resolveCdi(specs, ['vendor.com/gpu=all', 'other.com/nic=a'], async () => undefined);
  assert.deepEqual(edits.env, ['GPU=0', 'NIC=a']);
  assert.equal(edits.devices[0]?.device.fileMode, 0o666);
});

test('the last directory wins, whatever the format', async () => {
  const first = directoryWith({
    'gpu.json': JSON.stringify({ ...JSON.parse(json), kind: 'vendor.com/gpu' }),
  });
  const last = directoryWith({ 'gpu.yml': yaml.replace('name: all', 'name: a') });
  const { specs } = readCdiSpecs([first, last]);
  const edits = await resolveCdi(specs, ['vendor.com/gpu=a'], async () => undefined);
  assert.deepEqual(edits.env, ['GPU=0']);
});

test('a bad file is told by name and takes nothing else away', () => {
  const bomb = [
    'a: &a0 [x, x]',
    ...Array.from({ length: 30 }, (_, n) => `b${n}: &a${n + 1} [*a${n}, *a${n}]`),
  ];
  const directory = directoryWith({
    'bad.yaml': 'kind: [',
    'bad.json': '{',
    'bomb.yaml': bomb.join('\n'),
    'empty.yml': '',
    'large.yaml': ' '.repeat(1024 * 1024 + 1),
    'nic.json': json,
  });
  mkdirSync(join(directory, 'folder.yaml'));
  const { specs, failures } = readCdiSpecs([directory]);
  assert.deepEqual(
    specs.map(({ kind }) => kind),
    ['other.com/nic'],
  );
  for (const name of ['bad.yaml', 'bad.json', 'bomb.yaml', 'empty.yml', 'large.yaml', 'folder.yaml']) {
    assert.equal(failures.filter((failure) => failure.includes(name)).length, 1, name);
  }
  assert.ok(failures.some((failure) => /bad\.json is not JSON/.test(failure)));
});
