import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { EngineError } from '../../lib/errors.ts';
import type { ImageId } from '../../lib/ids.ts';
import type { ContainerImageFacts } from '../deps.ts';
import { baseImage } from './base-image.ts';

/** What a node with these images finds for a checkpoint that says this. */
function found(t: TestContext, config: unknown, present: readonly string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-base-'));
  t.after(() => rmSync(directory, { recursive: true }));
  if (config !== undefined)
    writeFileSync(
      join(directory, 'config.dump'),
      typeof config === 'string' ? config : JSON.stringify(config),
    );
  const resolve = (name: string): ContainerImageFacts | undefined => {
    if (name === 'ambiguous') throw new EngineError('invalid-argument', 'several images');
    return present.includes(name) ? ({ id: name as ImageId } as ContainerImageFacts) : undefined;
  };
  return baseImage({ resolve }, directory).id;
}

test('its id counts before its names', (t) => {
  const config = { rootfsImageRef: 'id', rootfsImageName: 'name', rootfsImage: 'old' };
  assert.equal(found(t, config, ['id', 'name', 'old']), 'id');
  assert.equal(found(t, config, ['name', 'old']), 'name');
  assert.equal(found(t, config, ['old']), 'old');
  assert.equal(found(t, { ...config, rootfsImageRef: 'ambiguous' }, ['name']), 'name');
  assert.equal(found(t, { ...config, rootfsImageRef: '' }, ['name']), 'name');
});

test('an image that is not here is named, so that it can be pulled', (t) => {
  const config = { rootfsImageRef: 'id', rootfsImageName: 'registry.example/app:1' };
  assert.throws(() => found(t, config, []), {
    kind: 'not-found',
    message: /"registry.example\/app:1" .* pull it first/,
  });
});

test('a description that names no image is refused', (t) => {
  for (const config of [{}, { rootfsImageRef: '', rootfsImageName: '' }])
    assert.throws(() => found(t, config, ['']), { kind: 'invalid-argument', message: /does not say/ });
});

for (const [what, config] of [
  ['no description', undefined],
  ['one that is no JSON', '{"rootfsImageRef":'],
  ['one that is null', null],
  ['a name that is none', { rootfsImageRef: { a: 1 } }],
  ['a name without end', { rootfsImageRef: 'x'.repeat(2000) }],
] as const)
  test(`${what} is refused`, (t) => {
    assert.throws(() => found(t, config, []), { kind: 'invalid-argument' });
  });
