import assert from 'node:assert/strict';
import { test } from 'node:test';
import { detectHostCgroups } from '../../cgroups/host.ts';
import { hugepageSizeName, parseCapabilityMask, readHostFacts } from './read-host-facts.ts';

test('host facts: this node has some', () => {
  const runtime = { runtimeName: 'crun' };
  const facts = readHostFacts(runtime, detectHostCgroups());
  assert.ok(facts.capabilities.includes('CAP_CHOWN'));
  assert.ok(facts.kernel.major >= 4);
  assert.ok(facts.maxOpenFiles > 0);
  assert.ok(facts.minOomScoreAdj >= -1000 && facts.minOomScoreAdj <= 1000);
});

test('host facts: capability masks and page sizes are read as the kernel writes them', () => {
  assert.deepEqual(parseCapabilityMask('0000000000000003'), ['CAP_CHOWN', 'CAP_DAC_OVERRIDE']);
  assert.equal(parseCapabilityMask('000001ffffffffff').length, 41);
  assert.equal(hugepageSizeName('hugepages-2048kB'), '2MB');
  assert.equal(hugepageSizeName('hugepages-1048576kB'), '1GB');
  assert.equal(hugepageSizeName('hugepages-64kB'), '64KB');
  assert.equal(hugepageSizeName('nonsense'), undefined);
});
