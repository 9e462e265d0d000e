/** Runs the workloads of hack/bench in the node that it was started in, and prints what came out. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startDockerRegistry } from '../../../test/fixtures/docker-registry.ts';
import { prepare } from './cri.ts';
import { containerd, gantry } from './engine.ts';
import { busyboxReference, pauseReference, pushImages } from './images.ts';
import { describeMachine } from './machine.ts';
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
    rounds: { type: 'string', default: '4' },
    pods: { type: 'string', default: '20,50,100,300' },
    json: { type: 'string' },
    svg: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => console.error(text);

/** @throws Error that names what no workload is called */
function chosenWorkloads(): Workload[] {
  const unknown = values.only?.find((name) => !Object.hasOwn(workloads, name));
  if (unknown !== undefined)
    throw new Error(`--only ${unknown}: the workloads are ${Object.keys(workloads).join(', ')}`);
  return Object.entries(workloads).flatMap(([name, workload]) =>
    (values.only?.includes(name) ?? true) ? [workload] : [],
  );
}

/** @throws Error that names the option */
function counts(option: string, text: string): number[] {
  const numbers = text.split(',').map(Number);
  if (!numbers.every((number) => Number.isInteger(number) && number > 0))
    throw new Error(`${option} ${text}: numbers above 0 are expected`);
  return numbers.toSorted((a, b) => a - b);
}

async function main(): Promise<void> {
  const chosen = chosenWorkloads();
  const rounds = values.quick ? 2 : (counts('--rounds', values.rounds)[0] ?? 1);
  const podCounts = values.quick ? [10] : counts('--pods', values.pods);
  const directory = mkdtempSync(join(tmpdir(), 'gantry-bench-'));
  await using stack = new AsyncDisposableStack();
  // Kept between runs: the large image takes minutes to make.
  const storage = join(process.env['GANTRY_CACHE'] ?? directory, 'bench-registry');
  const { host: registry } = stack.use(await startDockerRegistry({ storage, writable: true }));
  await pushImages(registry);
  const parts = { runtime: values.runtime, directory, registry };
  const program = join(import.meta.dirname, '../../../dist/main.js');
  const engines = [
    stack.use(gantry({ ...parts, program })),
    stack.use(containerd({ ...parts, program: values.containerd })),
  ];
  for (const engine of engines) {
    await engine.start();
    for (const image of [busyboxReference(registry), pauseReference(registry)])
      await engine.cri.send(prepare('PullImage', { image: { image } }));
  }
  const versions = await Promise.all(engines.map(async (engine) => await engine.version()));
  const machine = describeMachine(values.runtime);
  const heading = `${versions.join(' and ')}\n${machine}`;
  say(heading);

  const measurements = new Measurements();
  const context = {
    engines,
    measurements,
    registry,
    runtime: values.runtime,
    rounds,
    settleMs: values.quick ? 0 : 5000,
    podCounts,
    say,
  };
  // What was measured before something failed may have taken half an hour.
  stack.defer(() => {
    const all = measurements.all();
    const names = engines.map(({ name }) => name);
    console.log(`${heading}\n${table(all, [...names, floorName])}`);
    if (values.svg !== undefined) writeFileSync(values.svg, picture(all, names));
    if (values.json !== undefined) writeFileSync(values.json, json(all, names, { versions, machine }));
  });
  await besideOnePod(context, async () => {
    for (const workload of chosen) await workload(context);
  });
}

await main();
