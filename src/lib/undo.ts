import { messageOf } from './errors.ts';

/** An attempt that failed with `reason`, and how what it acquired is given back. */
interface FailedAttempt {
  /** As the subject of a sentence: "creating it". */
  readonly what: string;
  readonly reason: unknown;
  /** Gives everything back and deletes the record. Without the request's signal: the client may have gone. */
  readonly undo: () => Promise<void>;
  /** Keeps the record, with this reason, so that a later stop or remove can finish the undoing. */
  readonly keepAsUnknown: (reason: string) => void;
}

/**
 * Undoes an attempt; returns for the caller to throw the attempt's own error.
 *
 * @throws SuppressedError when the undoing failed too, with both errors; the record has been kept then
 */
export async function undoFailed({ what, reason, undo, keepAsUnknown }: FailedAttempt): Promise<void> {
  try {
    await undo();
  } catch (undoError) {
    const text = `${what} failed (${messageOf(reason)}) and undoing that failed: ${messageOf(undoError)}`;
    keepAsUnknown(text);
    throw new SuppressedError(undoError, reason, text);
  }
}
