/** The traces of requests, and their export where the environment asks for it. */
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { OtlpExport } from '../telemetry/traces/otlp-export.ts';
import { readOtlpSettings } from '../telemetry/traces/otlp-settings.ts';
import { RequestTraces } from '../telemetry/traces/request-traces.ts';

/** Begins to keep traces. An export that cannot be is logged: the engine works without. */
export async function startTraces(
  {
    keptRequests,
    version,
    log,
  }: { readonly keptRequests: number; readonly version: string; readonly log: Log },
  stack: AsyncDisposableStack,
): Promise<RequestTraces> {
  const otlp = await startExport(version, log);
  if (otlp !== undefined) stack.use(otlp);
  return new RequestTraces({ keptRequests, onEnd: (trace) => otlp?.send(trace) });
}

async function startExport(version: string, log: Log): Promise<OtlpExport | undefined> {
  try {
    const settings = readOtlpSettings(process.env);
    if (settings === undefined) return undefined;
    const { startOtlpExport } = await import('../telemetry/traces/otlp-export.ts');
    const onProblem = (message: string): void => log.warn({ error: message }, 'traces are not exported');
    return await startOtlpExport(settings, { version, onProblem });
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'traces are not exported');
    return undefined;
  }
}
