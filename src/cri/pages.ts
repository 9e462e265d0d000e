/** The size of messages, and splitting a list into those of a streaming RPC: none is near the size that clients refuse. */

/** The kubelet and crictl refuse more than this in one message. */
export const maxMessageBytes = 16 * 1024 * 1024;

const usualItemsPerMessage = 100;

/** Yields one message per page. An empty list yields none: the end of the stream says that it is complete. */
export async function* pages<Item, Message>(
  items: readonly Item[],
  toMessage: (page: Item[]) => Message,
  itemsPerMessage = usualItemsPerMessage,
): AsyncIterable<Message> {
  for (let start = 0; start < items.length; start += itemsPerMessage)
    yield toMessage(items.slice(start, start + itemsPerMessage));
}
