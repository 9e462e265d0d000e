/**
 * The server's side of a SPDY/3.1 connection as Kubernetes clients use it (`moby/spdystream`): they open streams, both
 * sides send data and half-close. That library knows no flow-control windows, so none are kept here: what holds a fast
 * sender back is the socket, which is read no further while a stream's reader is behind.
 */
import { Duplex } from 'node:stream';
import { EngineError } from '../../lib/errors.ts';
import { EventSource } from '../../lib/events.ts';
import {
  decodeFrame,
  encodeDataHead,
  encodeGoaway,
  encodePing,
  encodeRstStream,
  encodeSynReply,
  frameHeaderBytes,
  payloadBytes,
  type Frame,
} from './frames.ts';
import { HeaderDecoder, HeaderEncoder, type Headers } from './header-block.ts';

/** A frame's length field allows 16 MiB; the clients send 32 KiB at a time. */
const maxPayloadBytes = 1024 * 1024;
/** How much one stream may hold before the whole connection waits for its reader. */
const streamBufferBytes = 256 * 1024;
/** With the buffers above, what one holder of a token can make the daemon keep: 128 MiB. */
const maxStreams = 512;
const rstCancel = 5;
const rstRefusedStream = 3;
/** Answers that the client has not read: beyond it no more of its frames are, until it has. */
const maxUnreadAnswerBytes = 256 * 1024;
/** How long the client may take to read what was sent before a closed session lets go of the socket. */
const lingerMs = 10_000;

/** A stream that the client opened. Readable ends with the client's half-close; `end()` is ours. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  readonly #session: SpdySession;
  #resume: (() => void) | undefined;
  #isReset = false;

  constructor(session: SpdySession, id: number, headers: Headers) {
    super({ allowHalfOpen: true, readableHighWaterMark: streamBufferBytes });
    this.#session = session;
    this.id = id;
    this.headers = headers;
  }

  /** Takes data from the connection; resolves when the reader can take more. */
  async accept(data: Buffer): Promise<void> {
    if (this.readableEnded || this.destroyed || data.length === 0 || this.push(data)) return;
    await new Promise<void>((resolve) => (this.#resume = resolve));
  }

  /** The other side gave the stream up. */
  acceptReset(): void {
    this.#isReset = true;
    this.destroy(new EngineError('cancelled', 'the client reset the stream'));
  }

  override _read(): void {
    this.#goOn();
  }

  /** Nobody reads any more, or somebody reads again: the connection need not wait. */
  #goOn(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#session.sendData(this.id, chunk, false, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#session.sendData(this.id, Buffer.alloc(0), true, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#isReset && !(this.readableEnded && this.writableFinished)) this.#session.sendReset(this.id);
    this.#session.forget(this.id);
    this.#goOn();
    done(error);
  }
}

export class SpdySession {
  readonly #socket: Duplex;
  readonly #encoder = new HeaderEncoder();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #closed = Promise.withResolvers<void>();
  readonly streams: EventSource<SpdyStream>;
  #isClosing = false;
  #lastStreamId = 0;

  /** Reads from `socket` as soon as a listener can have subscribed to `streams`. */
  constructor(socket: Duplex) {
    this.#socket = socket;
    this.streams = new EventSource<SpdyStream>((error) => socket.destroy(error as Error));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onSocketClose());
    queueMicrotask(() => void this.#read());
  }

  /** Settles when the connection is gone, whoever ended it. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  sendData(streamId: number, data: Buffer, isLast: boolean, done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) {
      done(new EngineError('cancelled', 'the client has closed the connection'));
      return;
    }
    this.#socket.cork();
    this.#socket.write(encodeDataHead(streamId, data.length, isLast), data.length === 0 ? done : undefined);
    if (data.length > 0) this.#socket.write(data, done);
    this.#socket.uncork();
  }

  sendReset(streamId: number): void {
    this.#send(encodeRstStream(streamId, rstCancel));
  }

  forget(streamId: number): void {
    this.#streams.delete(streamId);
  }

  /**
   * Says goodbye and closes once everything written has left. Input is read on and dropped meanwhile: closing a socket
   * with unread input would make the kernel discard what the client has not received yet.
   */
  async close(): Promise<void> {
    if (!this.#isClosing && !this.#socket.destroyed) {
      this.#isClosing = true;
      this.#send(encodeGoaway(this.#lastStreamId));
      this.#socket.end();
      for (const stream of this.#streams.values()) stream.resume();
      const timer = setTimeout(() => this.#socket.destroy(), lingerMs);
      void this.closed.then(() => clearTimeout(timer));
    }
    await this.closed;
  }

  #send(frame: Buffer): void {
    if (!this.#socket.destroyed && !this.#socket.writableEnded) this.#socket.write(frame);
  }

  /** Sends what the client's frame asks for, and waits if the client does not read its answers. */
  async #answer(frame: Buffer): Promise<void> {
    this.#send(frame);
    if (this.#socket.destroyed || this.#socket.writableLength < maxUnreadAnswerBytes) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once('drain', resolve);
    this.#socket.once('close', resolve);
    await promise.finally(() => {
      this.#socket.off('drain', resolve);
      this.#socket.off('close', resolve);
    });
  }

  #onSocketClose(): void {
    for (const stream of this.#streams.values()) stream.acceptReset();
    this.#streams.clear();
    this.#closed.resolve();
  }

  async #read(): Promise<void> {
    using decoder = new HeaderDecoder();
    try {
      for await (const { head, payload } of cutFrames(this.#socket))
        await this.#onFrame(decodeFrame(head, payload), decoder);
      this.#socket.end();
    } catch {
      // A client that breaks the protocol, or the connection, gets no further word: it would not understand it.
      this.#socket.destroy();
    }
  }

  async #onFrame(frame: Frame, decoder: HeaderDecoder): Promise<void> {
    switch (frame.type) {
      case 'data':
        await this.#onData(frame.streamId, frame.data, frame.isLast);
        break;
      case 'syn-stream':
        await this.#onOpen(frame.streamId, await decoder.decode(frame.headerBlock), frame.isLast);
        break;
      case 'syn-reply':
      case 'headers':
        // Decoded although nothing needs it: the block is part of the one compressed stream.
        await decoder.decode(frame.headerBlock);
        break;
      case 'rst-stream':
        this.#streams.get(frame.streamId)?.acceptReset();
        break;
      case 'ping':
        // Odd ids are the client's: sent back as they are. Even ones would answer a ping of ours.
        if (frame.id % 2 === 1) await this.#answer(encodePing(frame.id));
        break;
      case 'goaway':
      case 'ignored':
        break;
    }
  }

  async #onData(streamId: number, data: Buffer, isLast: boolean): Promise<void> {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (!this.#isClosing) await stream.accept(data);
    if (isLast) stream.push(null);
  }

  async #onOpen(streamId: number, headers: Headers, isLast: boolean): Promise<void> {
    // A second stream under a number that is in use would leave the first one without an end.
    if (streamId <= this.#lastStreamId)
      throw new EngineError('invalid-argument', `stream ${streamId} after ${this.#lastStreamId}`);
    if (this.#isClosing || this.#streams.size >= maxStreams) {
      await this.#answer(encodeRstStream(streamId, rstRefusedStream));
      return;
    }
    const stream = new SpdyStream(this, streamId, headers);
    stream.on('error', () => undefined);
    this.#lastStreamId = streamId;
    this.#streams.set(streamId, stream);
    const reply = this.#answer(encodeSynReply(streamId, this.#encoder.encode(new Map())));
    if (isLast) stream.push(null);
    this.streams.emit(stream);
    await reply;
  }
}

/** Cuts the connection into frames; reads no further than its consumer does. */
async function* cutFrames(
  socket: Duplex,
): AsyncIterable<{ readonly head: Buffer; readonly payload: Buffer }> {
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= frameHeaderBytes) {
      const bytes = payloadBytes(pending);
      if (bytes > maxPayloadBytes)
        throw new EngineError('resource-exhausted', `a SPDY frame of ${bytes} bytes`);
      const end = frameHeaderBytes + bytes;
      if (pending.length < end) break;
      yield { head: pending.subarray(0, frameHeaderBytes), payload: pending.subarray(frameHeaderBytes, end) };
      pending = pending.subarray(end);
    }
  }
}
