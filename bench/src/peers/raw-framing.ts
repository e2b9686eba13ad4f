import type { Socket } from 'node:net';
import { Packr, Unpackr } from 'msgpackr';

/** `[msg_type, correlation_id, header, body]` */
export type Frame = [number, number, { target?: string; channel_life_cycle?: string }, unknown];

/** Without `variableMapSize` even an empty header would be a map16. */
const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false });

export function packFrame(frame: Frame): Buffer {
  return packr.pack(frame);
}

/** Joins all frames of one tick into one write. */
export function batchedWriter(socket: Socket): (frame: Frame) => void {
  let queue: Buffer[] = [];
  const flush = (): void => {
    const batch = queue;
    queue = [];
    const [first] = batch;
    socket.write(batch.length === 1 && first ? first : Buffer.concat(batch));
  };
  return (frame) => {
    if (queue.length === 0) process.nextTick(flush);
    queue.push(packFrame(frame));
  };
}

/** What msgpackr adds to the error it throws when the bytes end inside a value. */
interface IncompleteError {
  incomplete: true;
  values?: Frame[];
  lastPosition: number;
}

function isIncomplete(error: unknown): error is IncompleteError {
  return typeof error === 'object' && error !== null && 'incomplete' in error && error.incomplete === true;
}

/** Turns the socket's chunks into frames. Pieces of a long frame are only counted until it is complete. */
export function onFrames(socket: Socket, receive: (frame: Frame) => void): void {
  let pieces: Buffer[] = [];
  let size = 0;
  let needed = 0;

  socket.on('data', (chunk: Buffer) => {
    pieces.push(chunk);
    size += chunk.length;
    if (size < needed) return;
    const data = pieces.length === 1 ? chunk : Buffer.concat(pieces, size);
    let frames: Frame[];
    let tail: Buffer | undefined;
    try {
      frames = unpackr.unpackMultiple(data);
    } catch (error) {
      if (!isIncomplete(error)) throw error;
      frames = error.values ?? [];
      tail = data.subarray(error.lastPosition);
    }
    pieces = tail ? [tail] : [];
    size = tail ? tail.length : 0;
    needed = tail ? longFrameBytes(tail) : 0;
    for (const frame of frames) receive(frame);
  });
}

/**
 * The length of a frame whose body is a str32, as soon as its length field has arrived, otherwise 0: try again with the
 * next chunk. It supports only the part of msgpack that this benchmark uses.
 */
function longFrameBytes(data: Buffer): number {
  // 94: array of four, 65: message type 101
  let at = 2;
  at += integerBytes(data[at]);
  // A fixmap of fixstr keys and values
  const strings = 2 * ((data[at] ?? 0) & 0x0f);
  at += 1;
  for (let i = 0; i < strings; i++) at += 1 + ((data[at] ?? 0) & 0x1f);
  return data[at] === 0xdb && at + 5 <= data.length ? at + 5 + data.readUInt32BE(at + 1) : 0;
}

function integerBytes(tag: number | undefined): number {
  switch (tag) {
    case 0xcc:
      return 2;
    case 0xcd:
      return 3;
    case 0xce:
      return 5;
    default:
      return 1;
  }
}
