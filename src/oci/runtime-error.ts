/** What a runtime says when it fails, read into one message and a kind. crun writes plain text, runc logfmt, both JSON with --log-format=json. */
import { EngineError, type ErrorKind } from '../lib/errors.ts';

/** Runtime output is attacker influenced (paths and arguments of the image are in it): what is shown is bounded. */
const maxMessageLength = 2048;

const prefixes = [
  /^runc (?:create|run|exec|start) failed: /,
  /^exec failed: /,
  /^OCI runtime (?:create|start|exec) failed: /,
  /^unable to start container process: /,
];

/**
 * Whole messages, or their ends: an image's program may be called "container does not exist", and a container that is still
 * there must not pass for one that is gone.
 */
const kinds: readonly (readonly [RegExp, ErrorKind])[] = [
  [/^container (?:`[\w-]+` )?does not exist$/, 'not-found'],
  [
    /^(?:error opening file|cannot open directory|open) [`'"][^`'"]*\/[\w-]+(?:\/status)?[`'"]: No such file or directory$/,
    'not-found',
  ],
  [/^container (?:`[\w-]+`|with given ID) already exists$/, 'already-exists'],
  [/^executable file [`"].*[`"] not found/s, 'failed-precondition'],
  [
    /^(?:exec|open executable).*(?:not found in \$PATH|no such file or directory|permission denied|exec format error)$/is,
    'failed-precondition',
  ],
  [/^chdir to /, 'failed-precondition'],
  [
    /^(?:the )?container (?:`[\w-]+` )?(?:is )?(?:not running|paused|not in (?:the )?[`\w ]+ state)$/,
    'failed-precondition',
  ],
  [/^cannot [\w ]+ a(?: container that has)? (?:stopped|paused)(?: container)?$/, 'failed-precondition'],
  [/(?:^|: )(?:no space left on device|cannot allocate memory|too many open files)$/i, 'resource-exhausted'],
];

/** The last error in a runtime's output, without time stamps and the runtime's own prefixes. Empty when it said nothing. */
export function runtimeMessage(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map(parseLine);
  const last = lines.findLast((line) => line.isError) ?? lines.at(-1);
  let text = last?.text ?? '';
  for (const prefix of prefixes) text = text.replace(prefix, '');
  return text.length > maxMessageLength ? `${text.slice(0, maxMessageLength)}...` : text;
}

/** Whether a runtime's log holds an error, not only warnings. */
export function loggedError(output: string): boolean {
  return output.split('\n').some((line) => parseLine(line.trim()).isError);
}

/** `attempt` says what was tried on which id; `fallback` is used where the runtime said nothing. */
export function runtimeError(attempt: string, output: string, fallback: string): EngineError {
  const message = runtimeMessage(output);
  const kind = kinds.find(([pattern]) => pattern.test(message))?.[1] ?? 'internal';
  return new EngineError(kind, `${attempt}: ${message === '' ? fallback : message}`);
}

function parseLine(line: string): { readonly text: string; readonly isError: boolean } {
  if (line.startsWith('{')) {
    const record = parseJson(line);
    if (typeof record?.['msg'] === 'string')
      return { text: record['msg'], isError: record['level'] === 'error' };
  }
  const logfmt = /^time="[^"]*" level=(\w+) msg=(.*)$/.exec(line);
  if (logfmt !== null) {
    const isError = logfmt[1] === 'error' || logfmt[1] === 'fatal';
    return { text: unquote(logfmt[2] ?? ''), isError };
  }
  return { text: line, isError: false };
}

/** A logfmt value: Go quotes it where it has spaces, with escapes that JSON knows (others keep the text as it is). */
function unquote(value: string): string {
  if (!value.startsWith('"')) return value;
  const end = value.lastIndexOf('"');
  const quoted = value.slice(0, end + 1);
  const parsed: unknown = (() => {
    try {
      return JSON.parse(quoted);
    } catch {
      return undefined;
    }
  })();
  return typeof parsed === 'string' ? parsed : quoted.slice(1, -1);
}

function parseJson(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
