import { z } from 'zod';
import { EngineError, messageOf } from '../../lib/errors.ts';
import { quote } from '../../lib/ids.ts';
import { parseUntrustedJson } from '../../lib/untrusted-json.ts';
import { readFileInRoot } from '../../linux/read-in-root.ts';
import { defaultArchiveLimits } from './archive-parts.ts';

/** One of the JSON files of an archive. @throws EngineError invalid-argument if it is missing, or saying what is wrong with it */
export function readDescription<T>(directory: string, name: string, schema: z.ZodType<T>): T {
  const bytes = readFileInRoot(directory, name, defaultArchiveLimits.maxDescriptionBytes);
  if (bytes === undefined) throw new EngineError('invalid-argument', `the checkpoint has no ${name}`);
  try {
    return schema.parse(parseUntrustedJson(bytes));
  } catch (error) {
    const message = `the checkpoint’s ${name} is not what it should be: ${quote(explain(error))}`;
    throw new EngineError('invalid-argument', message, { cause: error });
  }
}

/** The first fault only: an archive may have a million. */
function explain(error: unknown): string {
  if (!(error instanceof z.ZodError)) return messageOf(error);
  const [issue] = error.issues;
  return `${issue?.path.map(String).join('.') || 'document'}: ${issue?.message ?? 'invalid'}`;
}
