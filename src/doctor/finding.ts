/** What the doctor says: one thing about this host, how bad it is, and what to do about it. */

/** `note` is worth knowing, `warning` will hurt some pods, `problem` stops pods from running at all. */
export type Verdict = 'ok' | 'note' | 'warning' | 'problem';

export interface Finding {
  readonly area: 'kernel' | 'cgroups' | 'limits' | 'storage' | 'network' | 'programs' | 'daemon';
  readonly subject: string;
  readonly verdict: Verdict;
  /** A sentence or two; when not `ok`, with what to do. */
  readonly text: string;
}

/** Makes the findings of one area. */
export function findingsOf(
  area: Finding['area'],
): (subject: string, verdict: Verdict, text: string) => Finding {
  return (subject, verdict, text) => ({ area, subject, verdict, text });
}
