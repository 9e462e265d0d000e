/** How many tests call each RPC, by what the daemon's log says that it was asked while they ran. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** A request, by when it began. */
interface Request {
  readonly method: string;
  readonly atMs: number;
}

/** Tests run one after the other. */
interface TestRun {
  readonly name: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What one run of tests is known by. */
export interface Recorded {
  readonly requests: readonly Request[];
  readonly tests: readonly TestRun[];
}

/** Names of all RPCs of a proto file, in its order. */
export function rpcsOf(proto: string): string[] {
  return [...proto.matchAll(/^\s*rpc (\w+)\(/gm)].map(([, name = '']) => name);
}

/** The tests during which each RPC was called, at least once. What was asked between tests counts for none. */
export function callersOf({ requests, tests }: Recorded): Map<string, Set<string>> {
  const callers = new Map<string, Set<string>>();
  for (const { method, atMs } of requests) {
    const test = tests.find(({ fromMs, untilMs }) => fromMs <= atMs && atMs <= untilMs);
    if (test === undefined) continue;
    const names = callers.get(method) ?? new Set();
    callers.set(method, names.add(test.name));
  }
  return callers;
}

const requestLine = z.object({ time: z.string(), method: z.string(), durationMs: z.number() });
const testLine = z.object({ time: z.string(), test: z.string() });

function linesOf(text: string): unknown[] {
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as unknown];
    } catch {
      // Not the daemon's own words, such as what the runtime's monitor says.
      return [];
    }
  });
}

function requestsIn(lines: readonly unknown[]): Request[] {
  return lines.flatMap((line) => {
    const { data } = requestLine.safeParse(line);
    // It is logged when it ends.
    return data === undefined ? [] : [{ method: data.method, atMs: Date.parse(data.time) - data.durationMs }];
  });
}

/** The folder of test/e2e/engine/request-log.ts: one file for each file of tests. */
export function recordedTests(folder: string): Recorded[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) => {
      const lines = linesOf(readFileSync(join(folder, name), 'utf8'));
      const marks = lines.flatMap((line) => testLine.safeParse(line).data ?? []);
      const tests = marks.flatMap(({ time, test }, index): TestRun[] => {
        const until = marks[index + 1]?.time;
        const [fromMs, untilMs] = [Date.parse(time), until === undefined ? Infinity : Date.parse(until)];
        return test === '' ? [] : [{ name: `${name}: ${test}`, fromMs, untilMs }];
      });
      return { requests: requestsIn(lines), tests };
    });
}

const reportSchema = z.array(
  z.object({
    SpecReports: z.array(
      z.object({
        ContainerHierarchyTexts: z.array(z.string()).nullish(),
        LeafNodeType: z.string(),
        LeafNodeText: z.string(),
        State: z.string(),
        StartTime: z.string(),
        EndTime: z.string(),
      }),
    ),
  }),
);

/** The folder that `hack/critest --logs` names. */
export function recordedCritest(folder: string): Recorded {
  const reports = reportSchema.parse(JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')));
  const tests = reports
    .flatMap(({ SpecReports }) => SpecReports)
    .filter(({ LeafNodeType, State }) => LeafNodeType === 'It' && State === 'passed')
    .map((spec) => ({
      name: [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' '),
      fromMs: Date.parse(spec.StartTime),
      untilMs: Date.parse(spec.EndTime),
    }));
  return { requests: requestsIn(linesOf(readFileSync(join(folder, 'gantryd.log'), 'utf8'))), tests };
}
