/** Frames of SPDY/3.1 (SPDY Protocol, Draft 3.1, section 2): pure coding of what the Kubernetes clients use. */
import { EngineError } from '../../lib/errors.ts';

/** A frame as it was cut from the connection: header blocks still compressed. */
export type Frame =
  | { readonly type: 'data'; readonly streamId: number; readonly isLast: boolean; readonly data: Buffer }
  | {
      readonly type: 'syn-stream';
      readonly streamId: number;
      readonly isLast: boolean;
      readonly headerBlock: Buffer;
    }
  | {
      readonly type: 'syn-reply' | 'headers';
      readonly streamId: number;
      readonly isLast: boolean;
      readonly headerBlock: Buffer;
    }
  | { readonly type: 'rst-stream'; readonly streamId: number; readonly status: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goaway' }
  /** SETTINGS, WINDOW_UPDATE and what later drafts added: nothing that we must act on. */
  | { readonly type: 'ignored'; readonly controlType: number };

export const frameHeaderBytes = 8;
const version = 3;
const flagFin = 0x01;
const controlTypes = { synStream: 1, synReply: 2, rstStream: 3, ping: 6, goaway: 7, headers: 8 } as const;
const streamIdMask = 0x7fff_ffff;

/** Length of the frame's payload, from its first 8 bytes. */
export function payloadBytes(head: Buffer): number {
  return head.readUIntBE(5, 3);
}

/** @throws EngineError invalid-argument for what is not SPDY/3 */
export function decodeFrame(head: Buffer, payload: Buffer): Frame {
  const isLast = ((head[4] ?? 0) & flagFin) !== 0;
  if (((head[0] ?? 0) & 0x80) === 0) {
    return { type: 'data', streamId: head.readUInt32BE(0) & streamIdMask, isLast, data: payload };
  }
  if ((head.readUInt16BE(0) & 0x7fff) !== version)
    throw new EngineError('invalid-argument', 'the client does not speak SPDY/3');
  return decodeControl(head.readUInt16BE(2), payload, isLast);
}

function decodeControl(controlType: number, payload: Buffer, isLast: boolean): Frame {
  const need = (bytes: number): void => {
    if (payload.length < bytes)
      throw new EngineError('invalid-argument', `a SPDY frame of type ${controlType} is cut short`);
  };
  switch (controlType) {
    case controlTypes.synStream:
      need(10);
      return {
        type: 'syn-stream',
        streamId: payload.readUInt32BE(0) & streamIdMask,
        isLast,
        headerBlock: payload.subarray(10),
      };
    case controlTypes.synReply:
    case controlTypes.headers:
      need(4);
      return {
        type: controlType === controlTypes.headers ? 'headers' : 'syn-reply',
        streamId: payload.readUInt32BE(0) & streamIdMask,
        isLast,
        headerBlock: payload.subarray(4),
      };
    case controlTypes.rstStream:
      need(8);
      return {
        type: 'rst-stream',
        streamId: payload.readUInt32BE(0) & streamIdMask,
        status: payload.readUInt32BE(4),
      };
    case controlTypes.ping:
      need(4);
      return { type: 'ping', id: payload.readUInt32BE(0) };
    case controlTypes.goaway:
      return { type: 'goaway' };
    default:
      return { type: 'ignored', controlType };
  }
}

/** The 8 bytes before the data of a stream; the data itself is written without being copied. */
export function encodeDataHead(streamId: number, dataBytes: number, isLast: boolean): Buffer {
  const head = Buffer.alloc(frameHeaderBytes);
  head.writeUInt32BE(streamId & streamIdMask, 0);
  head.writeUInt32BE(dataBytes, 4);
  head[4] = isLast ? flagFin : 0;
  return head;
}

export function encodeSynReply(streamId: number, headerBlock: Buffer): Buffer {
  return encodeControl(controlTypes.synReply, Buffer.concat([word(streamId), headerBlock]));
}

export function encodeRstStream(streamId: number, status: number): Buffer {
  return encodeControl(controlTypes.rstStream, Buffer.concat([word(streamId), word(status)]));
}

export function encodePing(id: number): Buffer {
  return encodeControl(controlTypes.ping, word(id));
}

export function encodeGoaway(lastStreamId: number): Buffer {
  return encodeControl(controlTypes.goaway, Buffer.concat([word(lastStreamId), word(0)]));
}

function encodeControl(controlType: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(frameHeaderBytes);
  head.writeUInt16BE(0x8000 | version, 0);
  head.writeUInt16BE(controlType, 2);
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
