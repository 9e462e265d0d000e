/** What OpenTelemetry's environment variables say of the export of traces. Pure. */

export interface OtlpSettings {
  readonly protocol: 'http/protobuf' | 'grpc';
  readonly sampler: SamplerSettings;
  /** Between two exports. */
  readonly delayMs: number;
}

export interface SamplerSettings {
  /** Whether a caller that sent its own decision is followed. */
  readonly isParentBased: boolean;
  /** Of the requests that nobody decided about: 0 is none, 1 is all. */
  readonly ratio: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

const usualDelayMs = 5000;

/**
 * Undefined unless an endpoint for traces is named and nothing switches them off. Endpoint, headers, certificates, compression
 * and time-out are read by the exporter itself.
 * https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 *
 * @throws RangeError that names a variable whose value is not known
 */
export function readOtlpSettings(environment: Environment): OtlpSettings | undefined {
  const read = (name: string): string => environment[name]?.trim() ?? '';
  const endpoint = read('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') || read('OTEL_EXPORTER_OTLP_ENDPOINT');
  if (endpoint === '' || read('OTEL_SDK_DISABLED').toLowerCase() === 'true') return undefined;
  const exporter = read('OTEL_TRACES_EXPORTER');
  if (exporter === 'none') return undefined;
  if (exporter !== '' && exporter !== 'otlp')
    throw new RangeError(`OTEL_TRACES_EXPORTER: ${exporter} is not known (otlp, none)`);
  return {
    protocol: readProtocol(read('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') || read('OTEL_EXPORTER_OTLP_PROTOCOL')),
    sampler: readSampler(read('OTEL_TRACES_SAMPLER'), read('OTEL_TRACES_SAMPLER_ARG')),
    delayMs: readDelay(read('OTEL_BSP_SCHEDULE_DELAY')),
  };
}

function readProtocol(text: string): OtlpSettings['protocol'] {
  if (text === '' || text === 'http/protobuf') return 'http/protobuf';
  if (text === 'grpc') return 'grpc';
  throw new RangeError(`OTEL_EXPORTER_OTLP_PROTOCOL: ${text} is not known (http/protobuf, grpc)`);
}

function readSampler(text: string, argument: string): SamplerSettings {
  const name = text === '' ? 'parentbased_always_on' : text;
  const isParentBased = name.startsWith('parentbased_');
  const root = isParentBased ? name.slice('parentbased_'.length) : name;
  if (root === 'always_on') return { isParentBased, ratio: 1 };
  if (root === 'always_off') return { isParentBased, ratio: 0 };
  if (root !== 'traceidratio') throw new RangeError(`OTEL_TRACES_SAMPLER: ${text} is not known`);
  const ratio = argument === '' ? 1 : Number(argument);
  if (ratio >= 0 && ratio <= 1) return { isParentBased, ratio };
  throw new RangeError(`OTEL_TRACES_SAMPLER_ARG: ${argument} is not a ratio from 0 to 1`);
}

function readDelay(text: string): number {
  if (text === '') return usualDelayMs;
  const delayMs = Number(text);
  if (Number.isSafeInteger(delayMs) && delayMs >= 0) return delayMs;
  throw new RangeError(`OTEL_BSP_SCHEDULE_DELAY: ${text} is not a number of milliseconds`);
}
