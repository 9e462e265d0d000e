/** Writes docs/configuration.md from the schema: `node hack/config-doc.ts`. A test holds that the file is what this writes. */
import { writeFileSync } from 'node:fs';
import { configurationPage } from './lib/configuration-page.ts';

writeFileSync(new URL('../docs/configuration.md', import.meta.url), configurationPage());
