/** The layer table of the architecture, held: a folder imports only what its row lists. Exits 1 and names each breach. */
import { readFileSync } from 'node:fs';
import { globSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

// The composition root's own parts build everything, so they may import everything.
const unrestricted = ['daemon'];
const everywhere = ['lib', 'telemetry'];
const layers: Record<string, readonly string[]> = {
  lib: [],
  gen: [],
  telemetry: [],
  linux: [],
  oci: ['linux'],
  cgroups: ['linux'],
  cni: ['linux'],
  images: ['linux'],
  volumes: ['linux'],
  networks: ['cni', 'linux'],
  sandbox: ['networks', 'oci', 'cgroups', 'linux'],
  containers: ['sandbox', 'images', 'volumes', 'oci', 'cgroups', 'linux'],
  nri: ['gen', 'linux'],
  stats: ['containers', 'sandbox', 'images', 'cgroups', 'linux'],
  build: ['containers', 'images'],
  streaming: ['containers', 'sandbox'],
  cri: ['streaming', 'stats', 'containers', 'sandbox', 'images', 'networks', 'gen'],
  doctor: ['oci', 'cgroups', 'cni', 'linux'],
  cli: ['gen', 'doctor'],
  docker: ['streaming', 'stats', 'build', 'containers', 'sandbox', 'images', 'volumes', 'networks'],
};

const importPattern = /(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g;
const breaches: string[] = [];
let edges = 0;

for (const file of globSync('src/**/*.ts')) {
  const folder = file.split('/').length > 2 ? (file.split('/')[1] ?? '') : '';
  if (folder === '' || unrestricted.includes(folder)) continue;
  const allowed = layers[folder];
  if (allowed === undefined) {
    breaches.push(`${file}: src/${folder} has no row in the layer table`);
    continue;
  }
  for (const match of readFileSync(file, 'utf8').matchAll(importPattern)) {
    const target = normalize(join(dirname(file), match[1] ?? '')).split('/');
    const to = target.length > 2 ? (target[1] ?? '') : '(root)';
    edges += 1;
    const isOwn = to === folder || (folder !== 'gen' && everywhere.includes(to)) || allowed.includes(to);
    if (!isOwn)
      breaches.push(
        `${file}: imports ${target.join('/')}, which src/${folder} may not (${allowed.join(', ')})`,
      );
  }
}

if (edges === 0) breaches.push('no import was read: the check itself is broken');
for (const breach of breaches) process.stderr.write(`${breach}\n`);
process.exitCode = breaches.length === 0 ? 0 : 1;
