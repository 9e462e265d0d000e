/**
 * What every RPC has in common: the deadline and the client's leaving become one AbortSignal, one trace, one log line and
 * one metric at the end, an error becomes a status. Handlers below it are plain async functions.
 */
import { once } from 'node:events';
import {
  status,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { EngineError } from '../lib/errors.ts';
import { untilAborted } from '../lib/keyed-lock.ts';
import type { Semaphore } from '../lib/semaphore.ts';
import type { Log } from '../telemetry/log.ts';
import type { RequestMetrics } from '../telemetry/request-metrics.ts';
import { phase, withTrace } from '../telemetry/traces/phase.ts';
import type { OpenTrace } from '../telemetry/traces/open-trace.ts';
import type { RequestTraces } from '../telemetry/traces/request-traces.ts';
import { toServiceError } from './errors.ts';
import { subjectOfAnswer, subjectOfRequest, type SubjectStores } from './subjects.ts';

export interface InterceptorDeps {
  readonly log: Log;
  /** None where nobody is served them. */
  readonly metrics: RequestMetrics | undefined;
  readonly traces: RequestTraces;
  /** Where traces find the names of what requests name by ids. */
  readonly stores: SubjectStores;
  /** Where requests that change something stand in line. */
  readonly queue: Semaphore;
}

/** An RPC with one answer. */
export type UnaryHandler<Req, Res> = (request: Req, signal: AbortSignal) => Promise<Res>;
/** An RPC that answers with a stream, which ends when the iteration does. */
export type StreamingHandler<Req, Res> = (request: Req, signal: AbortSignal) => AsyncIterable<Res>;

// The kubelet asks these every second: at the usual level they would be most of the log. Traces call them reads.
const quietMethods =
  /^(?:List|Status|Version|PodSandboxStatus|ContainerStatus|ContainerStats|PodSandboxStats|ImageStatus|ImageFsInfo|Stream)/;
/** One that lasts as long as its client: shown as running for ever it would be in the way. */
const eventsMethod = 'GetContainerEvents';

/**
 * What makes the kernel, the runtime and the network work. Waiting for a registry, for a process to end by itself or for
 * a command takes no place in the line.
 */
const queuedMethods: ReadonlySet<string> = new Set([
  'RunPodSandbox',
  'StopPodSandbox',
  'RemovePodSandbox',
  'CreateContainer',
  'StartContainer',
  'RemoveContainer',
  'UpdateContainerResources',
]);

/** Adapts a handler to grpc-js. */
export function unary<Req, Res>(
  deps: InterceptorDeps,
  method: string,
  handler: UnaryHandler<Req, Res>,
): handleUnaryCall<Req, Res> {
  const isQueued = queuedMethods.has(method);
  return (call, callback) => {
    const request = begin(deps, method, call);
    const work = async (): Promise<Res> => await handler(call.request, request.signal);
    const answer = request.run(isQueued ? async () => await inTurn(deps.queue, request.signal, work) : work);
    answer.then(
      (response) => {
        request.end(response);
        callback(null, response);
      },
      (reason: unknown) => callback(toServiceError(request.fail(reason))),
    );
  };
}

/** First come, first served. A client that leaves gives up its place. */
async function inTurn<T>(queue: Semaphore, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  using _ = await phase('wait for a place', async () => await queue.acquire(signal));
  return await work();
}

/** Adapts a streaming handler to grpc-js: back-pressure from the socket, the iteration ended when the client leaves. */
export function serverStreaming<Req, Res>(
  deps: InterceptorDeps,
  method: string,
  handler: StreamingHandler<Req, Res>,
): handleServerStreamingCall<Req, Res> {
  return (call) => {
    const request = begin(deps, method, call);
    const work = async (): Promise<void> =>
      await pump(call, handler(call.request, request.signal), request.signal);
    request.run(work).then(
      () => {
        request.end();
        call.end();
      },
      (reason: unknown) => {
        const error = request.fail(reason);
        if (!call.cancelled) call.emit('error', toServiceError(error));
      },
    );
  };
}

async function pump<Req, Res>(
  call: ServerWritableStream<Req, Res>,
  responses: AsyncIterable<Res>,
  signal: AbortSignal,
): Promise<void> {
  for await (const response of responses) {
    signal.throwIfAborted();
    if (call.write(response)) continue;
    await untilAborted(once(call, 'drain'), signal);
  }
}

interface Request {
  readonly signal: AbortSignal;
  /** Does its work, whose phases become those of its trace. */
  run<T>(work: () => T): T;
  end(answer?: unknown): void;
  fail(reason: unknown): EngineError;
}

/** Made once: errors are a tenth of what a short call costs. */
const endReason = new EngineError('cancelled', 'the request has ended');

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

function begin(
  deps: InterceptorDeps,
  method: string,
  call: Pick<AnyCall, 'getDeadline' | 'on' | 'metadata' | 'request'>,
): Request {
  const startedAt = performance.now();
  const measured = deps.metrics?.begin(method);
  const isQuiet = quietMethods.test(method);
  const trace = beginTrace(deps, method, call);
  const controller = new AbortController();
  let hasEnded = false;
  // Told of calls that were answered as well, when their stream closes: what still listens is let go. Reads leave nothing behind.
  call.on('cancelled', () => {
    if (!hasEnded) controller.abort(new EngineError('cancelled', `${method}: the client has gone`));
    else if (!isQuiet) controller.abort(endReason);
  });
  const timer = armDeadline(call.getDeadline(), () =>
    controller.abort(new EngineError('deadline-exceeded', `${method}: the request’s deadline has passed`)),
  );
  const finish = (code: string): number => {
    hasEnded = true;
    clearTimeout(timer);
    measured?.(code);
    return Math.round((performance.now() - startedAt) * 10) / 10;
  };
  return {
    signal: controller.signal,
    run: (work) => withTrace(trace, work),
    end(answer = {}) {
      trace.describe(subjectOfAnswer(answer as object));
      deps.traces.end(trace, 'OK');
      const line = { method, durationMs: finish('OK'), request: trace.spanId };
      if (isQuiet) deps.log.debug(line, 'request');
      else deps.log.info(line, 'request');
    },
    fail(reason) {
      const error = EngineError.from(reason);
      const { code, details } = toServiceError(error);
      deps.traces.end(trace, status[code], details);
      const durationMs = finish(status[code]);
      const line = { method, durationMs, request: trace.spanId, code: status[code], error: details };
      if (error.kind === 'internal' || error.kind === 'data-loss')
        deps.log.error(
          { ...line, stack: (error.cause as Error | undefined)?.stack ?? error.stack },
          'request failed',
        );
      else deps.log.warn(line, 'request failed');
      return error;
    },
  };
}

function beginTrace(
  { traces, stores }: InterceptorDeps,
  method: string,
  { metadata, request }: Pick<AnyCall, 'metadata' | 'request'>,
): OpenTrace {
  const [traceparent] = metadata.get('traceparent');
  const trace = traces.begin({
    method,
    isRead: quietMethods.test(method) || method === eventsMethod,
    traceparent: typeof traceparent === 'string' ? traceparent : undefined,
  });
  trace.describe(subjectOfRequest(stores, request as object));
  return trace;
}

const longestTimerMs = 2 ** 31 - 1;

function armDeadline(deadline: Date | number, onDeadline: () => void): NodeJS.Timeout | undefined {
  const leftMs = Number(deadline) - Date.now();
  if (!Number.isFinite(leftMs) || leftMs > longestTimerMs) return undefined;
  return setTimeout(onDeadline, Math.max(0, leftMs)).unref();
}
