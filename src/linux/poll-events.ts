/** The layout of `struct epoll_event` and what the poller's two threads say to each other. */

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLONESHOT = 1 << 30;

// Packed on x86-64 only (uapi/linux/eventpoll.h, EPOLL_PACKED).
export const eventBytes = process.arch === 'x64' ? 12 : 16;
const dataOffset = eventBytes - 8;

/** The token of the watch that tells the worker to end. */
export const stopToken = 0;

export interface PollWorkerData {
  readonly epollFd: number;
}

/** Pairs of token and event mask, flat. */
export type PollMessage = readonly number[];

export function encodeEvent(token: number, mask: number): Buffer {
  const event = Buffer.alloc(eventBytes);
  event.writeInt32LE(mask, 0);
  event.writeBigUInt64LE(BigInt(token), dataOffset);
  return event;
}

/** The first `count` events of the kernel's answer. */
export function decodeEvents(events: Buffer, count: number): PollMessage {
  const flat: number[] = [];
  for (let offset = 0; offset < count * eventBytes; offset += eventBytes) {
    flat.push(Number(events.readBigUInt64LE(offset + dataOffset)), events.readInt32LE(offset));
  }
  return flat;
}
