import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configSchema } from '../config-schema.ts';
import { startWarnings } from './start-warnings.ts';

const defaults = configSchema.parse({});
const runc = (version: string) => ({ kind: 'runc' as const, path: '/opt/runc', version });

test('CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2024-21626: a runtime with known flaws is named in the log', () => {
  const [first = '', second = ''] = startWarnings(defaults, [runc('1.1.11')]);
  assert.match(first, /^runc CVE-2024-21626: /);
  assert.match(second, /CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 lets .* Install runc 1\.2\.8/);
  assert.deepEqual(
    startWarnings(defaults, [runc('1.5.0'), { kind: 'other', path: '/x', version: 'unknown' }]),
    [],
  );
});

test('a server without a password on an address of the network is named in the log', () => {
  const warnings = (streaming: string, metrics: string): string[] =>
    startWarnings(
      configSchema.parse({ streaming: { address: streaming }, metrics: { address: metrics } }),
      [],
    ).map((text) => text.split(' ')[0] ?? '');
  assert.deepEqual(warnings('127.0.0.1', '[::1]:9090'), []);
  assert.deepEqual(warnings('::1', 'localhost:9090'), []);
  assert.deepEqual(warnings('0.0.0.0', ':9090'), ['streaming.address', 'metrics.address']);
  assert.deepEqual(warnings('192.0.2.1', ''), ['streaming.address']);
});
