// test-minutes: 15
/** All of critest, on this machine's kernel. */
import { defineCritestTests } from './engine/critest-tests.ts';

await defineCritestTests(process.env['GANTRY_CRITEST_IMAGES']);
