/**
 * A reporter of node:test that writes one JSON object a line, so that results survive the way through a node or a VM
 * to hack/lib/test-run.ts by nothing but standard output.
 */
import type { EventData } from 'node:test';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** What stands at the head of each line, to tell it from anything that else is written to standard output. */
export const resultMark = '\u001etest ';

/** One line of a run. */
export type ResultLine =
  | { readonly kind: 'pass'; readonly file: string; readonly name: string }
  | { readonly kind: 'skip'; readonly file: string; readonly name: string; readonly reason: string }
  | { readonly kind: 'fail'; readonly file: string; readonly name: string; readonly error: string }
  | { readonly kind: 'output'; readonly file: string; readonly text: string };

function ofPass({ file = '', skip, details }: EventData.TestPass, name: string): ResultLine | undefined {
  if (skip !== undefined && skip !== false) {
    return { kind: 'skip', file, name, reason: typeof skip === 'string' ? skip : '' };
  }
  // A file without a test passes under its own name; it was meant to hold some.
  if (file.endsWith(`/${name}`)) return { kind: 'fail', file, name, error: 'the file holds no test' };
  return details.type === 'suite' ? undefined : { kind: 'pass', file, name };
}

function ofFailure({ file = '', details }: EventData.TestFail, name: string): ResultLine | undefined {
  const error: Error & { failureType?: string } = details.error;
  // What fails because of a test inside it has nothing to add to that test's line.
  if (error.failureType === 'subtestsFailed') return undefined;
  return { kind: 'fail', file, name, error: inspect(error.cause ?? error, { depth: 6 }) };
}

function resultOf(event: TestEvent, name: string): ResultLine | undefined {
  switch (event.type) {
    case 'test:stdout':
    case 'test:stderr':
      return { kind: 'output', file: event.data.file, text: event.data.message };
    case 'test:pass':
      return ofPass(event.data, name);
    case 'test:fail':
      return ofFailure(event.data, name);
    default:
      return undefined;
  }
}

// The interface of node:test: the default export of the module.
// oxlint-disable-next-line import/no-default-export
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const path: string[] = [];
  for await (const event of events) {
    if (event.type === 'test:start') path.splice(event.data.nesting, Infinity, event.data.name);
    if (event.type === 'test:interrupted' || event.data === undefined) continue;
    const nesting = 'nesting' in event.data ? event.data.nesting : 0;
    const name = 'name' in event.data ? [...path.slice(0, nesting), event.data.name].join(' > ') : '';
    const line = resultOf(event, name);
    if (line) yield `${resultMark}${JSON.stringify(line)}\n`;
  }
}
