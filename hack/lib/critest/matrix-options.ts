/** The command line of hack/conformance: which runs of critest it stands for. */
import { parseArgs } from 'node:util';
import { countOption } from '../count-option.ts';

const places = ['node', 'vm'] as const;

export interface Run {
  readonly place: (typeof places)[number];
  readonly runtime: string;
  readonly streaming: 'spdy' | 'websocket';
  readonly seed: number;
}

/** Never none: a matrix without runs would say that all is well. @throws Error with what is wrong about the command line */
export function planRuns(args: readonly string[]): readonly Run[] {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { seeds: { type: 'string', default: '3' }, runtimes: { type: 'string', default: 'crun,runc' } },
    allowPositionals: true,
  });
  const orders = countOption('--seeds', values.seeds);
  const runtimes = values.runtimes.split(',');
  if (runtimes.includes(''))
    throw new Error(`--runtimes is ${values.runtimes}: there is no runtime without a name`);
  const hosts = (positionals.length === 0 ? places : positionals).map(placeNamed);
  const first = Math.ceil(Math.random() * 900_000);
  const seeds = Array.from({ length: orders }, (_, index) => first + index);
  return hosts.flatMap((place) =>
    seeds.flatMap((seed) =>
      runtimes.flatMap((runtime) =>
        (['spdy', 'websocket'] as const).map((streaming): Run => ({ place, runtime, streaming, seed })),
      ),
    ),
  );
}

function placeNamed(name: string): Run['place'] {
  const place = places.find((known) => known === name);
  if (place === undefined) throw new Error(`no kind of host is called ${name} (${places.join(', ')})`);
  return place;
}
