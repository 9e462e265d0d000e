/** The ratios that matter most to a node, as a picture: one bar for each, on a logarithmic scale around "as fast as". */
import { ratioOf, type Row, rowsOf } from './report.ts';
import type { Measurement } from './samples.ts';

const width = 760;
const rowHeight = 22;
const top = 64;
const labelWidth = 300;
const valueWidth = 70;
/** Ratios beyond these are drawn as long as these. */
const range = 32;
const better = '#2f855a';
const worse = '#c05621';

/** Of each workload, what its users wait or pay for. What a run has not measured is not drawn. */
const shown: readonly (readonly [workload: string, operation: string])[] = [
  ['lifecycle', 'RunPodSandbox'],
  ['lifecycle', 'CreateContainer + StartContainer'],
  ['lifecycle', 'pod and container up'],
  ['first-byte', 'pod to HTTP 200'],
  ['lifecycle', 'StopContainer + RemoveContainer'],
  ['lifecycle', 'StopPodSandbox + RemovePodSandbox'],
  ['lifecycle', 'ExecSync true'],
  ['8 parallel', 'pod lifecycles'],
  ['100 pods', 'ListPodSandbox'],
  ['100 pods', 'ListContainers'],
  ['100 pods', 'ListPodSandboxStats'],
  ['100 pods', 'ListContainerStats'],
  ['100 pods', 'CPU under polling'],
  ['100 pods', 'PSS of all'],
  ['300 pods', 'restart'],
  ['300 pods', 'PSS of all'],
  ['pull', 'gzip'],
  ['pull', 'gzip, 10 at once'],
  ['pull', 'zstd'],
];

interface Bar {
  readonly label: string;
  /** Above 1: the first engine needs more of it than the second, or, for what happens per second, does less. */
  readonly cost: number;
}

/** An SVG without scripts and fonts of its own. */
export function picture(measurements: readonly Measurement[], engines: readonly string[]): string {
  const rows = rowsOf(measurements);
  const bars = shown.flatMap(([workload, operation]) => {
    const row = rows.find((each) => each.workload === workload && each.operation === operation);
    return row === undefined ? [] : barOf(row, engines);
  });
  const height = top + bars.length * rowHeight + 16;
  const middle = labelWidth + (width - labelWidth - valueWidth) / 2;
  const [first = '', second = ''] = engines;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="16" y="24" font-size="16">${escaped(first)} beside ${escaped(second)}: what each operation costs</text>`,
    `<text x="${middle - 12}" y="50" text-anchor="end" fill="${better}">${escaped(first)} needs less</text>`,
    `<text x="${middle + 12}" y="50" fill="${worse}">${escaped(second)} needs less</text>`,
    ...bars.map((bar, index) => drawn(bar, top + index * rowHeight, middle)),
    `<line x1="${middle}" y1="${top - 6}" x2="${middle}" y2="${height - 12}" stroke="#888"/>`,
    '</svg>',
    '',
  ].join('\n');
}

function barOf(row: Row, engines: readonly string[]): Bar[] {
  const ratio = ratioOf(row, engines);
  if (ratio === undefined || ratio <= 0) return [];
  const label = `${row.workload}: ${row.operation}`;
  return [
    row.unit === '1/s' ? { label: `${label}, time for each`, cost: 1 / ratio } : { label, cost: ratio },
  ];
}

function drawn({ label, cost }: Bar, y: number, middle: number): string {
  const half = (width - labelWidth - valueWidth) / 2;
  const share = Math.min(1, Math.abs(Math.log(cost)) / Math.log(range));
  const length = Math.round(share * half * 10) / 10;
  const isBetter = cost <= 1;
  const bar = `<rect x="${isBetter ? middle - length : middle}" y="${y + 3}" width="${length}" height="${rowHeight - 8}" fill="${isBetter ? better : worse}"/>`;
  const text = `<text x="16" y="${y + 15}">${escaped(label)}</text>`;
  const value = `<text x="${width - 12}" y="${y + 15}" text-anchor="end">${cost.toPrecision(2)} times</text>`;
  return text + bar + value;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
