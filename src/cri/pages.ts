/** Splitting a list into the messages of a streaming RPC: no message near the size that clients refuse. */
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
