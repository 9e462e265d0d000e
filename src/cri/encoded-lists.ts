/** Lists as bytes: the kubelet asks for them every second, and most of what they tell is as it was. */

export interface ListEncoder<R> {
  /** The message whose list holds this record alone. */
  readonly one: (record: R) => Uint8Array;
  readonly all: (records: readonly R[]) => Buffer;
}

/**
 * Gives what encodes a list of records: `encodeOne` gives the message whose list holds one of them, and messages that hold one
 * list each become the message of all when they are put behind each other. Each is kept for as long as its record, which
 * never changes: whatever changes an object gives it another record.
 * https://protobuf.dev/programming-guides/encoding/#last-one-wins
 */
export function listEncoder<R extends object>(encodeOne: (record: R) => Uint8Array): ListEncoder<R> {
  const encoded = new WeakMap<R, Uint8Array>();
  const one = (record: R): Uint8Array => {
    const known = encoded.get(record);
    if (known !== undefined) return known;
    const bytes = encodeOne(record);
    encoded.set(record, bytes);
    return bytes;
  };
  return { one, all: (records) => Buffer.concat(records.map(one)) };
}
