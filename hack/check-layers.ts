/**
 * The layer table of the architecture, held: a folder imports only what its row lists, and the README's table says the
 * same. Exits 1 and names each breach.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
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
    // The version is in it.
    if (target.join('/') === 'package.json') continue;
    const to = target.length > 2 ? (target[1] ?? '') : '(root)';
    edges += 1;
    const isOwn = to === folder || (folder !== 'gen' && everywhere.includes(to)) || allowed.includes(to);
    if (!isOwn)
      breaches.push(
        `${file}: imports ${target.join('/')}, which src/${folder} may not (${allowed.join(', ')})`,
      );
  }
}

/** What the README's table says of each folder; `everything` and `nothing of ours` are words, not folders. */
const told = new Map<string, ReadonlySet<string>>();
const readme = readFileSync('README.md', 'utf8');
const [, section = ''] = /^## Layers$(.*?)^## /ms.exec(readme) ?? [];
for (const [, folders = '', mayImport = ''] of section.matchAll(/^\|(.*)\|(.*)\|$/gm)) {
  if (folders.trim() === 'folder') continue;
  const allowed = namesIn(mayImport);
  for (const name of allowed) {
    if (!told.has(name))
      breaches.push(`README.md: the layer table has no row for ${name} above ${folders.trim()}`);
  }
  for (const folder of namesIn(folders)) {
    if (mayImport.trim() !== 'everything') told.set(folder, allowed);
    else if (folder in layers) breaches.push(`README.md: src/${folder} may not import everything`);
  }
}
// Rows for what is still to come are not in the README, neither on the left nor on the right.
const isThere = (folder: string): boolean => existsSync(`src/${folder}`);
for (const folder of new Set([...Object.keys(layers).filter(isThere), ...told.keys()])) {
  const held = (layers[folder] ?? []).filter(isThere).toSorted().join(', ');
  const said = [...(told.get(folder) ?? ['no row'])].toSorted().join(', ');
  if (held !== said)
    breaches.push(`README.md: the layer table says of src/${folder}: (${said}); held is (${held})`);
}

function namesIn(cell: string): Set<string> {
  return new Set([...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
}

if (edges === 0 || told.size === 0) breaches.push('no import or no row was read: the check itself is broken');
for (const breach of breaches) process.stderr.write(`${breach}\n`);
process.exitCode = breaches.length === 0 ? 0 : 1;
