import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { configurationPage } from '../hack/lib/configuration-page.ts';
import { loadConfig, printDefaultConfig } from './config.ts';
import { EngineError } from './lib/errors.ts';
import { runCommand } from './linux/command.ts';

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'config-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function refusal(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    assert.ok(error instanceof EngineError);
    assert.equal(error.kind, 'invalid-argument');
    return error.message;
  }
  throw new assert.AssertionError({ message: 'the configuration was accepted' });
}

test('the printed default is a configuration and means the defaults', (t) => {
  const file = join(directory(t), 'config.toml');
  writeFileSync(file, printDefaultConfig());
  assert.deepEqual(
    loadConfig(file, { mustExist: true }),
    loadConfig(join(directory(t), 'absent.toml'), { mustExist: false }),
  );
});

test('only regular files of a sensible size are read', async (t) => {
  const folder = directory(t);
  const named = (path: string): string => refusal(() => loadConfig(path, { mustExist: true }));
  assert.match(named('/dev/zero'), /read the configuration \/dev\/zero: it is not a regular file/);
  const fifo = join(folder, 'fifo.toml');
  await runCommand(['mkfifo', fifo], { check: true });
  assert.match(named(fifo), /fifo\.toml: it is not a regular file/);
  assert.match(named(folder), /it is not a regular file/);
  const large = join(folder, 'large.toml');
  writeFileSync(large, '');
  truncateSync(large, 2 ** 30);
  assert.match(named(large), /large\.toml: it is larger than 1048576 bytes/);
});

test('drop-ins win over the file, the later one over the earlier', (t) => {
  const folder = directory(t);
  mkdirSync(join(folder, 'conf.d'));
  writeFileSync(
    join(folder, 'config.toml'),
    'root = "/a"\n[images]\npinned = ["x"]\nmax_concurrent_downloads = 5\n',
  );
  writeFileSync(join(folder, 'conf.d/20.toml'), 'root = "/c"\n');
  writeFileSync(join(folder, 'conf.d/10.toml'), 'root = "/b"\n[images]\npinned = ["y"]\n');
  writeFileSync(join(folder, 'conf.d/30.txt'), 'not TOML');
  const config = loadConfig(join(folder, 'config.toml'), { mustExist: true });
  assert.equal(config.root, '/c');
  assert.deepEqual(config.images.pinned, ['y']);
  assert.equal(config.images.max_concurrent_downloads, 5);
});

test('a mistake is told by file and key', (t) => {
  const file = join(directory(t), 'config.toml');
  const load = (text: string) => () => {
    writeFileSync(file, text);
    return loadConfig(file, { mustExist: true });
  };
  assert.match(
    refusal(load('[images]\nmax_concurent_downloads = 3\n')),
    /config\.toml: images: .*max_concurent_downloads/,
  );
  assert.match(refusal(load('root = "relative"\n')), /config\.toml: root: must be an absolute path/);
  assert.match(refusal(load('[cri]\nmax_requests = "many"\n')), /cri\.max_requests/);
  assert.match(refusal(load('version = 2\n')), /version/);
  assert.match(refusal(load('[runtime.handlers."Bad_Name"]\npath = "x"\n')), /DNS label/);
  assert.match(refusal(load('root = \n')), /config\.toml:1/);
  assert.match(
    refusal(() => loadConfig('/nowhere/config.toml', { mustExist: true })),
    /\/nowhere\/config\.toml does not exist/,
  );
});

test('docs/configuration.md is what the schema says', () => {
  const page = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8');
  assert.equal(page, configurationPage(), 'run node hack/config-doc.ts');
});
