import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { metricsPage } from '../../hack/lib/metrics-page.ts';

test('docs/metrics.md names every metric that is served', async () => {
  const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  assert.equal(page, await metricsPage(), 'run node hack/metrics-doc.ts');
  assert.match(page, /^\| `gantry_cri_requests_total` \| counter \| `method`, `code` \|/m);
  assert.match(page, /^\| `container_memory_failures_total` \| counter \| `failure_type`, `scope` \|/m);
});
