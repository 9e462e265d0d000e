/** Tells an engine to ask a registry of ours instead of those that foreign suites' images are named after. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const mirrored = ['registry.k8s.io', 'k8s.gcr.io', 'gcr.io', 'public.ecr.aws', 'docker.io', 'quay.io'];

/** Writes a `hosts.toml` for each of them below `certsDir`, which send everything to `host` (`127.0.0.1:5000`). */
export function writeMirrors(certsDir: string, host: string): void {
  for (const registry of mirrored) {
    mkdirSync(join(certsDir, registry), { recursive: true });
    writeFileSync(
      join(certsDir, registry, 'hosts.toml'),
      // What the mirror lacks is asked from nobody else: there is no way out, and an answer at once is better.
      `server = "http://${host}"\n\n[host."http://${host}"]\ncapabilities = ["pull", "resolve"]\n`,
    );
  }
}
