/** One request as text: what it was, and a line for each phase, placed where it was in the request's time. Pure. */
import type { Trace } from '../gen/gantry/v1/traces.ts';
import { phaseTree, timeOutside, type PhaseNode } from './phase-tree.ts';
import { formatTable, printable } from './table.ts';
import { formatDuration, isoOfNs } from './units.ts';

const barWidth = 40;

/** The whole text, several lines. What came from others has no control characters. */
export function formatWaterfall(trace: Trace): string {
  const tree = phaseTree(trace);
  const rows = tree.flatMap((node) => rowsOf(trace, node, ''));
  const outsideMs = timeOutside(trace.durationMs, tree);
  const rest = ['(in no phase)', '', formatDuration(outsideMs)];
  const left = trace.droppedPhases === 0 ? [] : [[`(and ${trace.droppedPhases} phases that were not kept)`]];
  return `${heading(trace)}\n${formatTable(['PHASE', 'AFTER', 'TOOK', ''], [...rows, rest, ...left])}`;
}

/** `default/web/app`, or the image: whatever the request was about. */
export function subjectText({ subject }: Trace): string {
  const { podName = '', podNamespace = '', containerName = '', image = '' } = subject ?? {};
  const pod = [podNamespace, podName].filter((text) => text !== '').join('/');
  return [pod, containerName].filter((text) => text !== '').join('/') || image;
}

function heading(trace: Trace): string {
  const { parentSpanId, error, code } = trace;
  const lines = [
    ['request', `${trace.method} ${subjectText(trace)}`.trim()],
    ['id', trace.spanId],
    ['trace', parentSpanId === '' ? trace.traceId : `${trace.traceId}, in span ${parentSpanId}`],
    ['started', isoOfNs(trace.startedAt) ?? ''],
    code === ''
      ? ['running', `for ${formatDuration(trace.durationMs)}`]
      : ['took', formatDuration(trace.durationMs)],
    ...(code === '' ? [] : [['status', code]]),
    ...(error === '' ? [] : [['error', error]]),
  ];
  return lines
    .map(([name = '', text = '']) => `${name.padEnd(8)} ${printable(text.replaceAll(/\s*\n\s*/g, ' '))}\n`)
    .join('');
}

function rowsOf(trace: Trace, node: PhaseNode, indent: string): string[][] {
  const { name, startMs, durationMs, hasEnded, hasFailed, phases } = node;
  const remark = hasFailed ? ' failed' : hasEnded ? '' : trace.code === '' ? ' under way' : ' not ended';
  return [
    [
      `${indent}${name}`,
      formatDuration(startMs),
      formatDuration(durationMs),
      `|${bar(node, trace.durationMs)}|${remark}`,
    ],
    ...phases.flatMap((child) => rowsOf(trace, child, `${indent}  `)),
  ];
}

/** At least one mark, however short it was. */
function bar({ startMs, durationMs }: PhaseNode, wholeMs: number): string {
  const scale = wholeMs > 0 ? barWidth / wholeMs : 0;
  const start = Math.min(barWidth - 1, Math.floor(startMs * scale));
  const end = Math.min(barWidth, Math.max(start + 1, Math.round((startMs + durationMs) * scale)));
  return ' '.repeat(start) + '='.repeat(end - start) + ' '.repeat(barWidth - end);
}
