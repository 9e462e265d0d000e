/** Layers of one small static program each: what waits for ever, and what tells whom it runs as. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BuiltLayer, buildLayer } from '../../../src/images/testing/build-image.ts';
import { copyOf } from './rootfs.ts';

/** Debian's catatonit, which reaps and waits; the command is `pauseCommand`. */
export async function pauseLayer(): Promise<BuiltLayer> {
  return await buildLayer([copyOf('/usr/bin/catatonit', 'pause')]);
}

export const pauseCommand = ['/pause', '-P'];

/** A program that prints `Effective uid: N`, at `name`, with a mode that makes it run as its owner. */
export async function setuidLayer(name: string, mode: number): Promise<BuiltLayer> {
  return await buildLayer([{ name, mode, content: effectiveUidProgram() }]);
}

function effectiveUidProgram(): Buffer {
  const work = mkdtempSync(join(tmpdir(), 'gantry-test-images-'));
  try {
    const program = join(work, 'program');
    const source =
      '#include <stdio.h>\n#include <unistd.h>\n' +
      'int main(void) { printf("Effective uid: %u\\n", (unsigned)geteuid()); return 0; }\n';
    execFileSync('gcc', ['-static', '-Os', '-s', '-Wl,--build-id=none', '-x', 'c', '-o', program, '-'], {
      input: source,
    });
    return readFileSync(program);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
