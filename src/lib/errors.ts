/**
 * The one error of the engine. `kind` is what callers branch on and what each face maps to its wire status;
 * the message says what was attempted and on which id, in lower case, and ends with the cause.
 */

/** The closed set of kinds. A new one does not compile until every face answers it. */
export type ErrorKind =
  | 'invalid-argument'
  | 'not-found'
  | 'already-exists'
  | 'failed-precondition'
  | 'permission-denied'
  | 'unauthenticated'
  | 'resource-exhausted'
  | 'deadline-exceeded'
  | 'cancelled'
  | 'unavailable'
  | 'unimplemented'
  | 'data-loss'
  | 'internal';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
  }

  /** The single funnel for `unknown`: keeps an EngineError, reads aborts as cancelled, all else is internal. */
  static from(reason: unknown): EngineError {
    if (reason instanceof EngineError) return reason;
    if (reason instanceof SuppressedError) {
      const first = EngineError.from(reason.suppressed);
      const undo = messageOf(reason.error);
      return new EngineError(first.kind, `${first.message}; and undoing it failed: ${undo}`, {
        cause: reason,
      });
    }
    if (reason instanceof Error && reason.name === 'TimeoutError') {
      return new EngineError('deadline-exceeded', reason.message, { cause: reason });
    }
    if (reason instanceof Error && reason.name === 'AbortError') {
      return new EngineError('cancelled', reason.message, { cause: reason });
    }
    return new EngineError(kindOfErrno(reason), messageOf(reason), { cause: reason });
  }
}

/** True for an EngineError of one of these kinds. */
export function isKind(reason: unknown, ...kinds: readonly ErrorKind[]): boolean {
  return reason instanceof EngineError && kinds.includes(reason.kind);
}

/** The text of anything thrown. */
export function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

/** The errno name (`ENOENT`) of anything thrown by Node or by `linux/`, if it has one. */
export function errnoOf(reason: unknown): string | undefined {
  if (typeof reason !== 'object' || reason === null || !('code' in reason)) return undefined;
  return typeof reason.code === 'string' ? reason.code : undefined;
}

/** A full disk is the user's to mend, not a defect of the engine: it has a kind of its own wherever it occurs. */
function kindOfErrno(reason: unknown): ErrorKind {
  switch (errnoOf(reason)) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      return 'resource-exhausted';
    default:
      return 'internal';
  }
}
