/** The size of messages, and splitting a list into those of a streaming RPC: none is near the size that clients refuse. */

/** The kubelet and crictl refuse more than this in one message. */
export const maxMessageBytes = 16 * 1024 * 1024;

/** gRPC clients refuse more than 4 MiB where nothing else is set; a pod may have annotations of 256 KiB. */
const maxPageBytes = 1024 * 1024;
const maxPageItems = 100;

/**
 * Yields the messages of a stream as bytes. `encodeOne` gives the message whose list holds one item alone; items that are larger than
 * a page have one to themselves. An empty list yields none: the end of the stream says that it is complete.
 */
export async function* pages<Item>(
  items: Iterable<Item>,
  encodeOne: (item: Item) => Uint8Array,
): AsyncIterable<Buffer> {
  let page: Uint8Array[] = [];
  let bytes = 0;
  for (const item of items) {
    const encoded = encodeOne(item);
    if (page.length === maxPageItems || (page.length > 0 && bytes + encoded.length > maxPageBytes)) {
      yield Buffer.concat(page);
      page = [];
      bytes = 0;
    }
    page.push(encoded);
    bytes += encoded.length;
  }
  if (page.length > 0) yield Buffer.concat(page);
}
