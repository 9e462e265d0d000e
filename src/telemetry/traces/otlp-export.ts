/**
 * Sends ended requests to an OpenTelemetry collector. The libraries for it take five megabytes and more, and would take a
 * kilobyte for each span that is kept: they are loaded only where something is exported, and told of a request when it is over.
 */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  diag,
  DiagLogLevel,
  ROOT_CONTEXT,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace as api,
  TraceFlags,
  type Tracer,
} from '@opentelemetry/api';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  type IdGenerator,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { OtlpSettings, SamplerSettings } from './otlp-settings.ts';
import { newSpanId, newTraceId } from './trace-context.ts';
import type { Subject, Trace } from './trace.ts';

/** A collector that is away does not hold up the daemon's end. */
const shutdownMs = 3000;

export interface OtlpExport extends AsyncDisposable {
  /** Takes a request that has ended; it is sent with others some seconds later. */
  send(trace: Trace): void;
}

/** Begins to export. `onProblem` hears what goes wrong, which never hinders a request. Disposing sends what is left. */
export async function startOtlpExport(
  { protocol, sampler, delayMs }: OtlpSettings,
  { version, onProblem }: { readonly version: string; readonly onProblem: (message: string) => void },
): Promise<OtlpExport> {
  const ignore = (): void => undefined;
  const logger = { error: onProblem, warn: onProblem, info: ignore, debug: ignore, verbose: ignore };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const ids = new GivenIds();
  const service = { 'service.name': 'gantryd', 'service.version': version, 'host.name': hostname() };
  const provider = new TracerProvider({
    resource: resourceFromAttributes(service).merge(detectResources({ detectors: [envDetector] })),
    sampler: createSampler(sampler),
    idGenerator: ids,
    spanProcessors: [
      new BatchSpanProcessor({ exporter: await loadExporter(protocol), scheduledDelayMillis: delayMs }),
    ],
  });
  const tracer = provider.getTracer('gantryd', version);
  return {
    send: (trace) => sendTrace(tracer, ids, trace),
    async [Symbol.asyncDispose]() {
      const problem = await Promise.race([
        provider.shutdown().then(() => undefined, String),
        sleep(shutdownMs, 'the collector does not answer', { ref: false }),
      ]);
      if (problem !== undefined) onProblem(`the last traces: ${problem}`);
    },
  };
}

async function loadExporter(protocol: OtlpSettings['protocol']): Promise<SpanExporter> {
  if (protocol === 'grpc') {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-grpc');
    return new OTLPTraceExporter();
  }
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  return new OTLPTraceExporter();
}

function createSampler({ isParentBased, ratio }: SamplerSettings): Sampler {
  const root =
    ratio === 1
      ? new AlwaysOnSampler()
      : ratio === 0
        ? new AlwaysOffSampler()
        : new TraceIdRatioBasedSampler(ratio);
  return isParentBased ? new ParentBasedSampler({ root }) : root;
}

/** A request has its ids already; its phases get theirs here. */
class GivenIds implements IdGenerator {
  next: { readonly traceId: string; readonly spanId: string } | undefined;

  readonly generateTraceId = (): string => this.next?.traceId ?? newTraceId();
  readonly generateSpanId = (): string => this.next?.spanId ?? newSpanId();
}

function sendTrace(tracer: Tracer, ids: GivenIds, trace: Trace): void {
  ids.next = trace;
  const options = {
    kind: SpanKind.SERVER,
    startTime: trace.startedAtMs,
    attributes: { 'rpc.system': 'grpc', 'rpc.method': trace.method, ...attributesOf(trace.subject) },
  };
  const span = tracer.startSpan(trace.method, options, parentContext(trace));
  ids.next = undefined;
  if (span.isRecording()) {
    sendPhases(tracer, span, trace);
    span.setAttribute('rpc.response.status_code', trace.code ?? '');
    if (trace.error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: trace.error });
  }
  span.end(trace.startedAtMs + trace.durationMs);
}

function sendPhases(tracer: Tracer, request: Span, { phases, startedAtMs, durationMs }: Trace): void {
  const spans: Span[] = [];
  for (const { name, parent, startMs, durationMs: phaseMs, hasFailed } of phases) {
    const around = api.setSpan(ROOT_CONTEXT, spans[parent] ?? request);
    const span = tracer.startSpan(name, { startTime: startedAtMs + startMs }, around);
    if (hasFailed) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(startedAtMs + (phaseMs === undefined ? durationMs : startMs + phaseMs));
    spans.push(span);
  }
}

function parentContext({ parent }: Trace): Context {
  if (parent === undefined) return ROOT_CONTEXT;
  const { traceId, spanId, isSampled } = parent;
  const traceFlags = isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  return api.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

/** By OpenTelemetry's names. An attribute that is undefined is left out by the library. */
function attributesOf(subject: Subject) {
  return {
    'k8s.pod.name': subject.podName,
    'k8s.namespace.name': subject.podNamespace,
    'k8s.container.name': subject.containerName,
    'container.id': subject.containerId,
    'container.image.name': subject.image,
    'gantry.pod.sandbox_id': subject.podId,
  };
}
