import type { z } from 'zod';
import { EngineError } from '../../lib/errors.ts';
import { readFileInRoot } from '../../linux/read-in-root.ts';
import { defaultArchiveLimits } from './archive-parts.ts';

/** One of the JSON files of an archive. @throws EngineError invalid-argument if it is missing or not what it should be */
export function readDescription<T>(directory: string, name: string, schema: z.ZodType<T>): T {
  const bytes = readFileInRoot(directory, name, defaultArchiveLimits.maxDescriptionBytes);
  if (bytes === undefined) throw new EngineError('invalid-argument', `the checkpoint has no ${name}`);
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw new EngineError('invalid-argument', `the checkpoint’s ${name} is not what it should be`, {
      cause: error,
    });
  }
}
