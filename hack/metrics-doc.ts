/** Writes docs/metrics.md from the tables of metrics. A test holds the file to it. */
import { writeFileSync } from 'node:fs';
import { metricsPage } from './lib/metrics-page.ts';

writeFileSync(new URL('../docs/metrics.md', import.meta.url), await metricsPage());
