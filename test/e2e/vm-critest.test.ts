// test-host: vm
// test-minutes: 15
/** The specs of critest that depend on cgroup v2, AppArmor, all capabilities, or the kernel's age: a third of them. */
import { defineCritestTests } from './engine/critest-tests.ts';

await defineCritestTests(process.env['GANTRY_CRITEST_IMAGES'], [
  'AppArmor',
  'UserNamespaces',
  'OOM',
  'metrics operations',
  'listing .*stats',
  'Mount Propagation',
  'Mount Readonly',
  'Privileged',
  'capabilit',
  'sysctls',
  'Networking',
  'NRI .*lifecycle',
  'hook errors',
]);
