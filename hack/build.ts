/**
 * Builds `dist/`: the programs and their threads, each with all that it imports in a few files, since a start that looks up and
 * reads nine hundred modules takes twice the time and memory. Everything lies in one folder, where a thread is looked for beside
 * its caller (src/linux/worker-url.ts).
 */
import { globSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const outdir = join(root, 'dist');
const programs = { main: 'src/main.ts', cli: 'src/cli/main.ts' };
const threads = globSync('src/**/*.worker.ts', { cwd: root }).map((file) => [basename(file, '.ts'), file]);

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: { ...programs, ...Object.fromEntries(threads) },
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  // Has a library of its own that is loaded from its folder.
  external: ['koffi'],
  // Packages in the older format call it for Node's own modules.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  // The text of what runs stays in memory.
  minifyWhitespace: true,
  lineLimit: 120,
  sourcemap: true,
  legalComments: 'linked',
  logLevel: 'warning',
});
