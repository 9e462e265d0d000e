/** Runs the workloads of hack/bench in the node that it was started in, and prints what came out. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { prepare } from './cri.ts';
import { containerd, describeMachine, gantry } from './engine.ts';
import { busyboxReference, pauseReference, pushImages } from './images.ts';
import { picture } from './picture.ts';
import { json, table } from './report.ts';
import { floorName, Measurements } from './samples.ts';
import { besideOnePod, type Workload } from './workload.ts';
import { critest } from './workloads/critest.ts';
import { floor } from './workloads/floor.ts';
import { firstByte } from './workloads/first-byte.ts';
import { lifecycle } from './workloads/lifecycle.ts';
import { parallel } from './workloads/parallel.ts';
import { polling } from './workloads/polling.ts';
import { pull } from './workloads/pull.ts';
import { restart } from './workloads/restart.ts';
import { scale } from './workloads/scale.ts';

/** In this order: what a daemon takes is looked at before it has done much. */
const workloads: Readonly<Record<string, Workload>> = {
  scale,
  lifecycle,
  parallel,
  'first-byte': firstByte,
  critest,
  polling,
  restart,
  pull,
  floor,
};

const { values } = parseArgs({
  options: {
    containerd: { type: 'string', default: '' },
    runtime: { type: 'string', default: '' },
    only: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '5' },
    pods: { type: 'string', default: '20,50,100,300' },
    json: { type: 'string' },
    svg: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => console.error(text);

async function main(): Promise<void> {
  const chosen = Object.entries(workloads).filter(([name]) => values.only?.includes(name) ?? true);
  if (chosen.length === 0) throw new Error(`workloads: ${Object.keys(workloads).join(', ')}`);
  const directory = mkdtempSync(join(tmpdir(), 'gantry-bench-'));
  await using stack = new AsyncDisposableStack();
  // Kept between runs: the large image takes minutes to make.
  const storage = join(process.env['GANTRY_CACHE'] ?? directory, 'bench-registry');
  const { host: registry } = stack.use(await startDockerRegistry({ storage, writable: true }));
  await pushImages(registry);
  const parts = { runtime: values.runtime, directory, registry };
  const main = join(import.meta.dirname, '../../../dist/main.js');
  const engines = [
    stack.use(gantry({ ...parts, program: main })),
    stack.use(containerd({ ...parts, program: values.containerd })),
  ];
  for (const engine of engines) {
    await engine.start();
    for (const image of [busyboxReference(registry), pauseReference(registry)])
      await engine.cri.send(prepare('PullImage', { image: { image } }));
  }
  const versions = await Promise.all(engines.map(async (engine) => await engine.version()));
  const machine = describeMachine(values.runtime);
  say(`${versions.join(' and ')}\n${machine}`);

  const measurements = new Measurements();
  const context = {
    engines,
    measurements,
    registry,
    runtime: values.runtime,
    rounds: values.quick ? 2 : Number(values.rounds),
    podCounts: values.quick ? [10] : values.pods.split(',').map(Number),
    say,
  };
  await besideOnePod(context, async () => {
    for (const [, workload] of chosen) await workload(context);
  });
  const names = engines.map(({ name }) => name);
  console.log(table(measurements.all(), [...names, floorName]));
  if (values.svg !== undefined) writeFileSync(values.svg, picture(measurements.all(), names));
  if (values.json !== undefined) writeFileSync(values.json, json(measurements.all(), { versions, machine }));
}

await main();
