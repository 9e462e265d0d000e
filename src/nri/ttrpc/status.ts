/** Codes of gRPC that ttrpc's answers carry, as far as they are given or told apart here. */
export const statusCode = {
  ok: 0,
  unknown: 2,
  invalidArgument: 3,
  resourceExhausted: 8,
  unimplemented: 12,
} as const;

/** What the other side answered instead of a result: its own words, and a code to branch on. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}
