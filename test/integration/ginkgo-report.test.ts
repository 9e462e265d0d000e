import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readReport } from '../../hack/lib/ginkgo/report.ts';

function spec(leaf: string, State: string, message = '', LeafNodeType = 'It'): object {
  return {
    ContainerHierarchyTexts: ['[sig-node]', 'Pods'],
    LeafNodeType,
    LeafNodeText: leaf,
    State,
    RunTime: 1_500_000_000,
    ...(message === '' ? {} : { Failure: { Message: message } }),
  };
}

function reportOf(...specs: object[]): string {
  return JSON.stringify([{ SuiteSucceeded: false, SpecReports: specs }]);
}

test('specs are named by their whole path, with what they say', () => {
  const { specs } = readReport(reportOf(spec('run', 'passed'), spec('stop', 'failed', 'it hangs')));
  assert.deepEqual(specs, [
    { name: '[sig-node] Pods run', state: 'passed', seconds: 1.5, message: '' },
    { name: '[sig-node] Pods stop', state: 'failed', seconds: 1.5, message: 'it hangs' },
  ]);
});

test('a spec that skips itself is told from one that was not chosen', () => {
  const { specs } = readReport(reportOf(spec('swap', 'skipped', 'no cgroup v2'), spec('other', 'skipped')));
  assert.deepEqual(
    specs.map(({ name, state, message }) => ({ name, state, message })),
    [{ name: '[sig-node] Pods swap', state: 'skipped', message: 'no cgroup v2' }],
  );
});

for (const state of ['failed', 'panicked', 'interrupted', 'aborted', 'timedout'])
  test(`a spec that is ${state} has failed`, () => {
    const { specs } = readReport(reportOf(spec('run', state, 'why')));
    assert.equal(specs[0]?.state, 'failed');
  });

test("a failure of the suite's own set-up is one of the suite", () => {
  const { specs, suiteFailures } = readReport(
    reportOf(spec('', 'failed', 'no kubelet', 'SynchronizedBeforeSuite')),
  );
  assert.deepEqual(specs, []);
  assert.deepEqual(suiteFailures, ['SynchronizedBeforeSuite: no kubelet']);
});

test('what is no report is refused', () => {
  assert.throws(() => readReport('{"specs": []}'));
  assert.throws(() => readReport('Ran 0 of 1201 Specs'));
});
