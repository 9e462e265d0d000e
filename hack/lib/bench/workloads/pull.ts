/** Pulls of a large image that the node does not have, one and ten at once, from a registry on this machine. */
import { bigImage, type BigImageKind, describeBigImage, forgetRemoved } from '../big-image.ts';
import { decode, prepare } from '../cri.ts';
import type { Engine } from '../engine.ts';
import { alternating, type WorkloadContext } from '../workload.ts';

const kinds: readonly BigImageKind[] = ['gzip', 'zstd'];
const atOnce = 10;
const pullsAtMost = 4;

export async function pull(context: WorkloadContext): Promise<void> {
  const { registry, rounds, say } = context;
  for (const kind of kinds) {
    const image = await bigImage(registry, kind, say);
    say(`pull: ${await describeBigImage(registry, kind)}`);
    for (const width of [1, atOnce])
      await alternating({ ...context, rounds: Math.min(rounds, pullsAtMost) }, async (engine) => {
        await forgetRemoved(registry, kind);
        await pullOnce(context, engine, {
          image,
          width,
          operation: width === 1 ? kind : `${kind}, ${width} at once`,
        });
        say(`pull: ${engine.name}, ${kind}, ${width} at once`);
      });
  }
}

async function pullOnce(
  { measurements }: WorkloadContext,
  engine: Engine,
  { image, width, operation }: { readonly image: string; readonly width: number; readonly operation: string },
): Promise<void> {
  const of = { workload: 'pull', unit: 'ms', engine: engine.name } as const;
  const request = prepare('PullImage', { image: { image } });
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: width }, async () => await engine.cri.send(request)));
  measurements.add({ ...of, operation }, performance.now() - startedAt);
  const removed = await engine.cri.send(prepare('RemoveImage', { image: { image } }));
  const left = await engine.cri.send(prepare('ImageStatus', { image: { image } }));
  // The next pull would not be a cold one.
  if (decode<{ image: object | null }>('ImageStatus', left).image !== null)
    throw new Error(`${engine.name} still has ${image}`);
  measurements.add({ ...of, operation: 'RemoveImage' }, removed.durationMs);
}
