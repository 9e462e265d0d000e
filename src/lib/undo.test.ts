import assert from 'node:assert/strict';
import { test } from 'node:test';
import { undoFailed } from './undo.ts';

test('what is undone leaves the attempt’s own error to its caller', async () => {
  const done: string[] = [];
  await undoFailed({
    what: 'making it',
    reason: new Error('no room'),
    undo: async () => void done.push('undone'),
    keepAsUnknown: () => done.push('kept'),
  });
  assert.deepEqual(done, ['undone']);
});

test('what cannot be undone is kept, and both errors are told', async () => {
  const kept: string[] = [];
  const reason = new Error('no room');
  const undoError = new Error('busy');
  const attempt = undoFailed({
    what: 'making it',
    reason,
    undo: async () => await Promise.reject(undoError),
    keepAsUnknown: (text) => kept.push(text),
  });
  const text = 'making it failed (no room) and undoing that failed: busy';
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof SuppressedError);
    assert.deepEqual([error.error, error.suppressed, error.message], [undoError, reason, text]);
    return true;
  });
  assert.deepEqual(kept, [text]);
});
