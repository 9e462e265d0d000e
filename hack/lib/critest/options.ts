/** The command line of hack/critest's second half. */
import { parseArgs } from 'node:util';

const streamings = ['spdy', 'websocket'] as const;
type Streaming = (typeof streamings)[number];

export interface Options {
  /** A registry's storage with the suite's images. */
  readonly images: string;
  /** The OCI runtime's program. */
  readonly runtime: string;
  /** Where logs and the report are kept. */
  readonly logs: string;
  readonly streaming: Streaming;
  readonly seed: number | undefined;
  /** Of all specs the ones whose names match one of `focus` (all, when empty) and none of `skip`. */
  readonly focus: readonly string[];
  readonly skip: readonly string[];
  /** An engine that runs already; without one, Gantry is started. */
  readonly endpoint: string | undefined;
  /** The rest is for `endpoint`. */
  readonly handler: string | undefined;
  readonly nriSocket: string | undefined;
}

/** @throws Error with what is wrong about them */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      images: { type: 'string', default: '' },
      runtime: { type: 'string', default: '' },
      logs: { type: 'string', default: '' },
      streaming: { type: 'string', default: 'spdy' },
      seed: { type: 'string' },
      focus: { type: 'string', multiple: true, default: [] },
      skip: { type: 'string', multiple: true, default: [] },
      endpoint: { type: 'string' },
      handler: { type: 'string' },
      'nri-socket': { type: 'string' },
    },
  });
  const { images, runtime, logs, focus, skip, endpoint, handler } = values;
  const streaming = streamings.find((known) => known === values.streaming);
  if (streaming === undefined)
    throw new Error(`--streaming is ${values.streaming}: it must be ${streamings.join(' or ')}`);
  if (values.seed !== undefined && !/^[1-9][0-9]{0,8}$/.test(values.seed))
    throw new Error(`--seed is ${values.seed}: it must be a number above 0`);
  const seed = values.seed === undefined ? undefined : Number(values.seed);
  const nriSocket = values['nri-socket'];
  return { images, runtime, logs, streaming, seed, focus, skip, endpoint, handler, nriSocket };
}
