/** Lists as bytes: the kubelet asks for them every second, and most of what they tell is as it was. */
import { RuntimeServiceService } from '../gen/runtime/v1/api.ts';

/** The service of the CRI. Its lists of pods and containers are answered in bytes, as `listEncoder` makes them. */
export const runtimeService = {
  ...RuntimeServiceService,
  listContainers: answeredInBytes(RuntimeServiceService.listContainers),
  streamContainers: answeredInBytes(RuntimeServiceService.streamContainers),
  listPodSandbox: answeredInBytes(RuntimeServiceService.listPodSandbox),
  streamPodSandboxes: answeredInBytes(RuntimeServiceService.streamPodSandboxes),
};

/**
 * Gives what encodes a list of records: `encodeOne` gives the message whose list holds one of them, and messages that hold one
 * list each become the message of all when they are put behind each other. Each is kept for as long as its record, which
 * never changes: whatever changes an object gives it another record.
 * https://protobuf.dev/programming-guides/encoding/#last-one-wins
 */
export function listEncoder<R extends object>(
  encodeOne: (record: R) => Uint8Array,
): (records: readonly R[]) => Buffer {
  const encoded = new WeakMap<R, Uint8Array>();
  const encode = (record: R): Uint8Array => {
    const known = encoded.get(record);
    if (known !== undefined) return known;
    const bytes = encodeOne(record);
    encoded.set(record, bytes);
    return bytes;
  };
  return (records) => Buffer.concat(records.map(encode));
}

function answeredInBytes<Definition extends object>(definition: Definition) {
  return { ...definition, responseSerialize: (bytes: Buffer): Buffer => bytes };
}
