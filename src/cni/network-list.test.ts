import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadNetworkList } from './load-network-list.ts';
import { parseNetworkList } from './network-list.ts';

const parse = (document: unknown) =>
  parseNetworkList({
    source: '/etc/cni/net.d/a.conflist',
    text: typeof document === 'string' ? document : JSON.stringify(document),
  });
const good = { cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bridge' }] };

test('a configuration at fault is refused by file and key', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    ['{', /a\.conflist: not JSON/],
    ['[]', /a\.conflist: document: must be a JSON object/],
    [{ ...good, name: undefined }, /a\.conflist: name: /],
    [{ ...good, name: '../../etc' }, /name: must be letters/],
    [{ ...good, cniVersion: undefined }, /cniVersion: missing/],
    [{ ...good, cniVersion: '0.2.0' }, /cniVersion: 0\.2\.0 is not spoken here/],
    [{ ...good, plugins: [] }, /plugins: the list names no plugin/],
    [{ ...good, plugins: [{}] }, /plugins\.0\.type: /],
    [{ ...good, plugins: [{ type: '../sh' }] }, /plugins\.0\.type: must be the name of a plugin/],
    [
      { ...good, plugins: [{ type: 'a', capabilities: { portMappings: 'yes' } }] },
      /plugins\.0\.capabilities\.portMappings/,
    ],
    [{ ...good, disableGC: 'maybe' }, /disableGC/],
    [{ ...good, plugins: undefined, loadOnlyInlinedPlugins: true }, /plugins: missing/],
  ];
  for (const [document, message] of cases) {
    assert.throws(() => parse(document), { name: 'EngineError', kind: 'invalid-argument', message });
  }
});

test('versions that are spoken here are kept, oldest first', () => {
  assert.deepEqual(
    parse({ ...good, cniVersion: '1.1.0', cniVersions: ['2.0.0', '0.4.0', '0.2.0'] }).versions,
    ['0.4.0', '1.1.0'],
  );
});

test('switches may be written as strings', () => {
  const list = parse({ ...good, disableCheck: 'true', disableGC: 'False' });
  assert.deepEqual([list.disableCheck, list.disableGC], [true, false]);
});

test('a single plugin becomes a list whose document stands for itself', () => {
  const list = parse({ cniVersion: '0.4.0', name: 'one', type: 'bridge', bridge: 'br0' });
  assert.deepEqual(
    list.plugins.map(({ type, bridge }) => [type, bridge]),
    [['bridge', 'br0']],
  );
  assert.deepEqual(parse(list.document).plugins, list.plugins);
});

test('the directory’s first valid configuration is taken and the faulty ones before it are named', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-net.d-'));
  t.after(() => rmSync(directory, { recursive: true }));
  assert.deepEqual(loadNetworkList(join(directory, 'absent')), {
    list: undefined,
    faults: [],
    isEmpty: true,
  });
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  write('readme.txt', 'not a configuration');
  assert.equal(loadNetworkList(directory).isEmpty, true);
  write('05-broken.conf', '{"name":');
  write('06-large.json', ' '.repeat(1024 * 1024 + 1));
  mkdirSync(join(directory, '07-folder.conflist'));
  const invalid = loadNetworkList(directory);
  assert.deepEqual([invalid.list, invalid.isEmpty, invalid.faults.length], [undefined, false, 2]);
  assert.match(invalid.faults[0] ?? '', /05-broken\.conf: not JSON/);
  assert.match(invalid.faults[1] ?? '', /06-large\.json: larger than 1048576 bytes/);
  write('20-later.conflist', JSON.stringify({ ...good, name: 'later' }));
  write('10-net.conflist', JSON.stringify(good));
  const loaded = loadNetworkList(directory);
  assert.deepEqual(
    [loaded.list?.name, loaded.list?.source, loaded.faults.length],
    ['net', join(directory, '10-net.conflist'), 2],
  );
});

test('plugins of the folder named like the network follow the inlined ones unless the list forbids it', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-net.d-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'net'));
  writeFileSync(join(directory, 'net', '20-b.conf'), '{"type":"tuning"}');
  writeFileSync(join(directory, 'net', '10-a.conf'), '{"type":"portmap"}');
  const types = (document: object) => {
    writeFileSync(join(directory, 'net.conflist'), JSON.stringify(document));
    const { list, faults } = loadNetworkList(directory);
    return list?.plugins.map(({ type }) => type) ?? faults;
  };
  assert.deepEqual(types(good), ['bridge', 'portmap', 'tuning']);
  assert.deepEqual(types({ ...good, plugins: undefined }), ['portmap', 'tuning']);
  assert.deepEqual(types({ ...good, loadOnlyInlinedPlugins: true }), ['bridge']);
  writeFileSync(join(directory, 'net', '30-c.conf'), '{}');
  assert.match(String(types(good)), /net\/30-c\.conf: type: /);
});
