import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { RecordDatabase } from '../records.ts';

/** An empty database in an empty directory; both go with the test. */
export function temporaryDatabase(t: TestContext): {
  readonly directory: string;
  readonly database: RecordDatabase;
} {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-test-'));
  const database = RecordDatabase.open(join(directory, 'state.db'));
  t.after(() => {
    database[Symbol.dispose]();
    rmSync(directory, { recursive: true });
  });
  return { directory, database };
}
