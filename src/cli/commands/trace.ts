/** `gantry trace`: where the time of requests went. */
import { Command, InvalidArgumentError } from 'commander';
import { TraceOrder, type ListTracesRequest, type Trace } from '../../gen/gantry/v1/traces.ts';
import { EngineError } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { jsonOption, print, socketOption, withCri } from '../connection.ts';
import { formatJson } from '../json.ts';
import { mainPhase, phaseTree, type PhaseNode } from '../phase-tree.ts';
import { formatTable } from '../table.ts';
import { formatDuration, isoOfNs } from '../units.ts';
import { formatWaterfall, subjectText } from '../waterfall.ts';

interface Options {
  readonly pod?: string;
  readonly method?: string;
  readonly failed?: true;
  readonly slowest?: true;
  readonly all?: true;
  readonly last: number;
  readonly quiet?: true;
  readonly json?: true;
}

const usualCount = 20;

export function traceCommand(): Command {
  return new Command('trace')
    .description('show where the time of recent requests went, phase by phase')
    .argument('[request]', 'id of a request or of a trace, or its beginning: shows its phases')
    .option('--pod <pod>', 'only those of this pod: name, namespace/name or beginning of its id')
    .option('--method <name>', 'only those of this kind: RunPodSandbox, PullImage')
    .option('--failed', 'only those that failed')
    .option('--slowest', 'the slowest ones, slowest first')
    .option('-a, --all', 'also those that change nothing: lists, statuses')
    .option('--last <count>', 'so many at most', parseCount, usualCount)
    .option('-q, --quiet', 'print ids only')
    .addOption(jsonOption())
    .addOption(socketOption())
    .action(async (id: string | undefined, options: Options, command: Command) => {
      const traces = await withCri(command, async (cri) => {
        const answer = await cri.traces.listTraces(requestOf(id, options));
        return answer.traces;
      });
      if (id !== undefined && traces.length === 0) throw notFound(id);
      if (options.json) await print(formatJson(traces.map(readable)));
      else if (options.quiet) await print(traces.map(({ spanId }) => `${spanId}\n`).join(''));
      else if (id === undefined) await print(table(traces));
      else await print(traces.map(formatWaterfall).join('\n'));
    });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1 && count <= 1000) return count;
  throw new InvalidArgumentError('It is not a number from 1 to 1000.');
}

function requestOf(id: string | undefined, options: Options): Partial<ListTracesRequest> {
  return {
    id: id ?? '',
    pod: options.pod ?? '',
    method: options.method ?? '',
    onlyFailed: options.failed === true,
    withReads: options.all === true,
    order: options.slowest ? TraceOrder.SLOWEST : TraceOrder.LATEST,
    limit: options.last,
  };
}

function notFound(id: string): EngineError {
  return new EngineError(
    'not-found',
    `no request with the id ${quote(id)} is kept: only the last ones of each kind are, and none from before the daemon's start`,
  );
}

function table(traces: readonly Trace[]): string {
  return formatTable(
    ['REQUEST', 'STARTED', 'TOOK', 'METHOD', 'OF', 'STATUS', 'MOSTLY IN'],
    traces.map((trace) => [
      trace.spanId,
      isoOfNs(trace.startedAt) ?? '',
      formatDuration(trace.durationMs),
      trace.method,
      subjectText(trace),
      trace.code || 'running',
      mainPhaseText(trace),
    ]),
  );
}

function mainPhaseText(trace: Trace): string {
  const phase = mainPhase(trace);
  return phase === undefined ? '' : `${phase.path} ${formatDuration(phase.durationMs)}`;
}

function readable(trace: Trace) {
  const { spanId, traceId, parentSpanId, method, startedAt, durationMs, code, error, subject } = trace;
  return {
    id: spanId,
    traceId,
    ...textField('parentSpanId', parentSpanId),
    method,
    startedAt: isoOfNs(startedAt),
    durationMs: rounded(durationMs),
    status: code === '' ? 'running' : code,
    ...textField('error', error),
    ...Object.assign({}, ...Object.entries(subject ?? {}).map(([name, text]) => textField(name, text))),
    phases: phaseTree(trace).map(readablePhase),
    droppedPhases: trace.droppedPhases,
  };
}

function readablePhase({ name, startMs, durationMs, hasEnded, hasFailed, phases }: PhaseNode): object {
  return {
    name,
    startMs: rounded(startMs),
    durationMs: rounded(durationMs),
    hasEnded,
    hasFailed,
    phases: phases.map(readablePhase),
  };
}

function textField(name: string, text: string): Readonly<Record<string, string>> {
  return text === '' ? {} : { [name]: text };
}

/** To the microsecond. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
