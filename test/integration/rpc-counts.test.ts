import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { callersOf, recordedCritest, recordedTests, rpcsOf } from '../../hack/lib/rpc-counts.ts';

function folder(t: TestContext, files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'gantry-rpc-counts-'));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

const at = (second: number): string => new Date(1_800_000_000_000 + second * 1000).toISOString();
const asked = (method: string, endedAt: number, seconds = 0): string =>
  JSON.stringify({ level: 'info', time: at(endedAt), method, durationMs: seconds * 1000, msg: 'request' });
const mark = (second: number, name: string): string => JSON.stringify({ time: at(second), test: name });

test('a request counts once for the test in which it began, and for none between tests', (t) => {
  const lines = [
    mark(10, 'one'),
    mark(20, ''),
    mark(30, 'two'),
    mark(40, ''),
    asked('Version', 5),
    asked('Version', 25),
    asked('Status', 11),
    asked('Status', 12),
    asked('ExecSync', 35, 17),
    asked('ExecSync', 36, 2),
    'conmon: not JSON',
  ];
  const [recorded] = recordedTests(folder(t, { 'some.jsonl': lines.join('\n'), 'other.txt': 'x' }));
  assert.ok(recorded);
  const callers = callersOf(recorded);
  assert.deepEqual([...callers.keys()].toSorted(), ['ExecSync', 'Status']);
  assert.deepEqual([...(callers.get('Status') ?? [])], ['some.jsonl: one']);
  assert.deepEqual([...(callers.get('ExecSync') ?? [])], ['some.jsonl: one', 'some.jsonl: two']);
});

test('specs of critest: what ran, not what was skipped, nor the suite’s own set-up', (t) => {
  const spec = (name: string, from: number, until: number, more: object = {}) => ({
    ContainerHierarchyTexts: ['[k8s.io] Image'],
    LeafNodeType: 'It',
    LeafNodeText: name,
    State: 'passed',
    StartTime: at(from),
    EndTime: at(until),
    ...more,
  });
  const specs = [
    spec('', 0, 5, { LeafNodeType: 'BeforeSuite' }),
    spec('pulls', 10, 20),
    spec('skips', 20, 21, { State: 'skipped' }),
  ];
  const path = folder(t, {
    'report.json': JSON.stringify([{ SpecReports: specs }]),
    'gantryd.log': [asked('Version', 1), asked('PullImage', 19, 3), asked('ListImages', 20.5)].join('\n'),
  });
  const recorded = recordedCritest(path);
  assert.deepEqual(
    recorded.tests.map(({ name }) => name),
    ['[k8s.io] Image pulls'],
  );
  assert.deepEqual([...callersOf(recorded).keys()], ['PullImage']);
});

test('the RPCs are those of the proto file, of both services', () => {
  const proto =
    'service A {\n  rpc Version(V) returns (W) {}\n}\n// rpc Old(O)\nservice B {\n  rpc Pull(P) {}\n}';
  assert.deepEqual(rpcsOf(proto), ['Version', 'Pull']);
});
