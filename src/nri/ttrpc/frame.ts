/**
 * The frames of ttrpc: length (32 bits), stream (32), type (8), flags (8), then the data. Only unary calls: a request and
 * its response. https://github.com/containerd/ttrpc/blob/v1.2.10/PROTOCOL.md
 */
import { EngineError } from '../../lib/errors.ts';
import type { Message, MessageShape } from './assembler.ts';

export const frameHeaderBytes = 10;
export const maxDataBytes = 4 * 1024 * 1024;

export const frameShape: MessageShape = {
  what: 'ttrpc message',
  headerBytes: frameHeaderBytes,
  lengthAt: 0,
  maxPayloadBytes: maxDataBytes,
};

export const requestType = 1;
export const responseType = 2;
/** More data would follow: a stream. */
export const remoteOpenFlag = 2;

export interface Frame {
  readonly stream: number;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
}

export function frameOf({ header, payload }: Message): Frame {
  return { stream: header.readUInt32BE(4), type: header[8] ?? 0, flags: header[9] ?? 0, data: payload };
}

/** @throws EngineError resource-exhausted for data that no peer would take */
export function encodeFrame({ stream, type, flags, data }: Frame): Buffer {
  if (data.length > maxDataBytes)
    throw new EngineError(
      'resource-exhausted',
      `ttrpc message of ${data.length} bytes: the limit is ${maxDataBytes}`,
    );
  const bytes = Buffer.allocUnsafe(frameHeaderBytes + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt8(type, 8);
  bytes.writeUInt8(flags, 9);
  bytes.set(data, frameHeaderBytes);
  return bytes;
}
