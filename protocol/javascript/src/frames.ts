import { Encoder, decode } from "@msgpack/msgpack";

import { MemoError } from "./errors.js";
import { frameTypes, type ClientFrame, type ServerFrame } from "./types.js";

/** The fewest items a frame of each type from the server has, the type among them. */
const lengths: Record<number, number> = {
  [frameTypes.welcome]: 2,
  [frameTypes.reply]: 3,
  [frameTypes.part]: 3,
  [frameTypes.error]: 3,
  [frameTypes.push]: 4,
  [frameTypes.ack]: 4,
  [frameTypes.awarenessRelay]: 3,
  [frameTypes.event]: 3,
  [frameTypes.goodbye]: 2,
};

// `undefined` means "left out" throughout the TypeScript types, and `null` means null.
const encoder = new Encoder({ ignoreUndefined: true });

/** One frame's bytes. Throws `MemoError` `invalid_request` for values MessagePack cannot hold. */
export function encodeFrame(frame: ClientFrame): Uint8Array {
  try {
    return encoder.encode(frame);
  } catch (error) {
    throw MemoError.from(error, "invalid_request");
  }
}

/** The WebSocket message that holds these encoded frames, in order. */
export function pack(frames: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const count = frames.length;
  const header = count < 16 ? [0x90 | count] : [0xdc, count >> 8, count & 0xff];
  const size = frames.reduce((sum, frame) => sum + frame.length, header.length);
  const message = new Uint8Array(size);
  message.set(header);
  let at = header.length;
  for (const frame of frames) {
    message.set(frame, at);
    at += frame.length;
  }
  return message;
}

/** As many frames as `pack` can put into one message. */
export const maxFrames = 0xffff;

/**
 * The frames of a server's message; those of unknown types are left out.
 *
 * Throws `MemoError` `invalid_message` when the bytes are not an array of frames.
 */
export function unpack(message: ArrayBuffer): ServerFrame[] {
  let frames: unknown;
  try {
    frames = decode(message);
  } catch (error) {
    throw MemoError.from(error, "invalid_message");
  }
  if (!Array.isArray(frames)) throw new MemoError("invalid_message");
  return frames.filter((frame): frame is ServerFrame => {
    const length = Array.isArray(frame) ? lengths[frame[0]] : undefined;
    return length !== undefined && frame.length >= length;
  });
}
