/** The command line of hack/node-e2e's second half, which runs inside the node. */
import { parseArgs } from 'node:util';
import { countOption } from '../count-option.ts';
import { type EngineName, engineNames, type RuntimeName, runtimeNames } from './engines.ts';

/** The specs that any node must pass and that may run side by side. */
const conformanceLabels = 'NodeConformance && !Serial && !Flaky && !Slow';

/** What stops and starts the kubelet, fills the disk or uses up the memory: one at a time. */
const serialLabels = 'Serial && !Flaky';

export interface Options {
  readonly engine: EngineName;
  readonly runtime: RuntimeName;
  /** Ginkgo's label filter: which kinds of specs. */
  readonly labels: string;
  /** Of these, the ones whose names match one of `focus` (all, when empty) and none of `skip`. */
  readonly focus: readonly string[];
  readonly skip: readonly string[];
  readonly procs: number;
  /** Whether specs may stop and start the kubelet. */
  readonly isSerial: boolean;
  /** Each spec this often. */
  readonly repeat: number;
  /** Where logs and the report are kept; they are printed only as far as they say why something failed. */
  readonly logs: string;
  /** The folder of kubelet, ginkgo and e2e_node. */
  readonly kubernetes: string;
  /** A registry's storage with the suite's images. */
  readonly images: string;
  /** gantryd's entry, or containerd's folder. */
  readonly program: string;
}

/** @throws Error with what is wrong about them */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      engine: { type: 'string', default: 'gantry' },
      runtime: { type: 'string' },
      serial: { type: 'boolean', default: false },
      labels: { type: 'string' },
      focus: { type: 'string', multiple: true, default: [] },
      skip: { type: 'string', multiple: true, default: [] },
      procs: { type: 'string', default: '4' },
      repeat: { type: 'string', default: '1' },
      logs: { type: 'string', default: '' },
      kubernetes: { type: 'string', default: '' },
      images: { type: 'string', default: '' },
      program: { type: 'string', default: '' },
    },
  });
  const { serial: isSerial, focus, skip, logs, kubernetes, images, program } = values;
  const labels = values.labels ?? (isSerial ? serialLabels : conformanceLabels);
  const engine = oneOf('--engine', values.engine, engineNames);
  const runtime = oneOf('--runtime', values.runtime ?? (engine === 'gantry' ? 'crun' : 'runc'), runtimeNames);
  const procs = isSerial ? 1 : countOption('--procs', values.procs);
  const repeat = countOption('--repeat', values.repeat);
  return { engine, runtime, labels, focus, skip, procs, isSerial, repeat, logs, kubernetes, images, program };
}

function oneOf<Name extends string>(option: string, value: string, names: readonly Name[]): Name {
  const name = names.find((known) => known === value);
  if (name === undefined) throw new Error(`${option} is ${value}: it must be ${names.join(' or ')}`);
  return name;
}
