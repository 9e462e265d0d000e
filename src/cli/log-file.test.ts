import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readLog, type LogRequest } from './log-file.ts';
import { LogPrinter, parseLogLine, type LogSelection } from './log-lines.ts';

const at = '2026-01-31T09:00:00.5+00:00';

function logFile(t: TestContext, content?: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-log-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, '0.log');
  if (content !== undefined) writeFileSync(path, content);
  return path;
}

async function show(request: LogRequest, selection: LogSelection = { timestamps: false }): Promise<string> {
  const printer = new LogPrinter(selection);
  let text = '';
  for await (const line of readLog(request)) text += printer.render(line)?.toString() ?? '';
  return text;
}

test('parts of a long line are joined, also across the other stream’s lines', async (t) => {
  const path = logFile(
    t,
    `${at} stdout P one, \n${at} stdout P two, \n${at} stdout F three\n${at} stderr F  an indented one\n${at} stdout F \n`,
  );
  assert.equal(await show({ path }), 'one, two, three\n an indented one\n\n');
  assert.equal(
    await show({ path, tail: 3 }, { timestamps: true }),
    `${at} one, two, three\n${at}  an indented one\n${at} \n`,
  );
});

test('what is no line of a log is passed over', () => {
  for (const wrong of ['', 'x', `${at} stdout`, `${at} stdlog F x`, `${at} stdout Q x`])
    assert.equal(parseLogLine(Buffer.from(wrong)), undefined);
  assert.equal(parseLogLine(Buffer.from(`${at} stdout F:tag text`))?.text.toString(), 'text');
});

test('the tail counts whole lines, however long', async (t) => {
  const long = `${at} stdout P ${'x'.repeat(16_000)}\n`.repeat(10);
  const lines = Array.from({ length: 3000 }, (_, index) => `${at} stdout F line ${index}\n`).join('');
  const path = logFile(t, `${lines}${long}${at} stdout F end\n${at} stdout P open`.concat('\n'));
  assert.equal(await show({ path, tail: 0 }), '');
  assert.equal(await show({ path, tail: 1 }), `${'x'.repeat(160_000)}end\nopen`);
  assert.equal(await show({ path, tail: 2 }), `line 2999\n${'x'.repeat(160_000)}end\nopen`);
  assert.equal((await show({ path, tail: 2001 })).split('\n')[0], 'line 1000');
  assert.equal((await show({ path, tail: 99_999 })).split('\n').length, 3002);
});

test('only lines since a moment', async (t) => {
  const path = logFile(t, `2026-01-31T09:00:00Z stdout F old\n2026-01-31T10:00:00Z stdout F new\n`);
  assert.equal(
    await show({ path }, { timestamps: false, sinceMs: Date.parse('2026-01-31T09:30:00Z') }),
    'new\n',
  );
});

test('following goes over a rotation and ends with the container', async (t) => {
  const path = logFile(t, `${at} stdout F one\n`);
  let step = 0;
  // Each question is a step of what happens meanwhile; the last one's answer is that the container has ended.
  const steps = [
    () => appendFileSync(path, `${at} stdout F two\n`),
    () => {
      renameSync(path, `${path}.1`);
      appendFileSync(`${path}.1`, `${at} stdout F three, late\n`);
    },
    () => writeFileSync(path, `${at} stdout F four\n`),
    () => appendFileSync(path, `${at} stdout F five\n`),
  ];
  const hasEnded = async (): Promise<boolean> => {
    steps[step]?.();
    step += 1;
    return step === steps.length;
  };
  assert.equal(await show({ path, follow: { hasEnded } }), 'one\ntwo\nthree, late\nfour\nfive\n');
});

test('a log that is not there yet is empty, and waited for when followed', async (t) => {
  const path = logFile(t);
  assert.equal(await show({ path }), '');
  let asked = 0;
  const hasEnded = async (): Promise<boolean> => {
    asked += 1;
    if (asked === 2) writeFileSync(path, `${at} stdout F here\n`);
    return asked === 3;
  };
  assert.equal(await show({ path, follow: { hasEnded } }), 'here\n');
});
