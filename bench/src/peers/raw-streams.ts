import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PeerClient, StreamParams } from '../peer.js';
import { addTo, type Tally } from '../tally.js';
import { produceText } from '../texts.js';
import { ItemQueue } from './item-queue.js';
import { batchedWriter, type Frame, packFrame } from './raw-framing.js';

export const CHANNEL = 102;

/** Frames of a stream are joined up to this many bytes for one write. */
const WRITE_BYTES = 64 * 1024;

type LifeCycle = 'DECLARE' | 'MSG' | 'END' | 'DROP';

function channelFrame(id: number, lifeCycle: LifeCycle, body: unknown): Frame {
  return [CHANNEL, id, { channel_life_cycle: lifeCycle }, body];
}

/** Writes frames in large pieces, as fast as the socket takes them, until `next` has no more. */
async function pump(socket: Socket, next: () => Frame | undefined): Promise<void> {
  let frame = next();
  while (frame) {
    const frames: Buffer[] = [];
    let bytes = 0;
    for (; frame && bytes < WRITE_BYTES; frame = next()) {
      const packed = packFrame(frame);
      frames.push(packed);
      bytes += packed.length;
    }
    if (!socket.write(Buffer.concat(frames, bytes))) await once(socket, 'drain');
    // Without this, a socket that has drained already would leave no time to read.
    await nextTurn();
  }
}

/** Receives the messages of one channel after DECLARE. */
type Receive = (lifeCycle: string | undefined, body: unknown) => void;

/** Opens the server's end of a channel. */
type Open = (channel: {
  id: number;
  socket: Socket;
  write: (frame: Frame) => void;
  body: unknown;
}) => Receive;

const channelHandlers = new Map<string, Open>([
  ['/default/count', streamOf((i) => i)],
  ['/default/texts', streamOf(produceText)],
  [
    '/default/sink',
    ({ id, write }) => {
      const tally: Tally = { count: 0, sum: 0 };
      return (lifeCycle, body) => {
        if (lifeCycle === 'MSG') addTo(tally, Number(body));
        else if (lifeCycle === 'END') write(channelFrame(id, 'MSG', tally));
      };
    },
  ],
  [
    '/default/mirror',
    ({ id, write }) =>
      (lifeCycle, body) => {
        if (lifeCycle === 'MSG') write(channelFrame(id, 'MSG', body));
      },
  ],
]);

function streamOf(make: (i: number) => unknown): Open {
  return ({ id, socket, body }) => {
    const n = isStreamParams(body) ? body.n : 0;
    let i = 0;
    let isDropped = false;
    const next = (): Frame | undefined =>
      i < n && !isDropped ? channelFrame(id, 'MSG', make(i++)) : undefined;
    void pump(socket, next);
    return (lifeCycle) => {
      if (lifeCycle === 'DROP') isDropped = true;
    };
  };
}

function isStreamParams(body: unknown): body is StreamParams {
  return typeof body === 'object' && body !== null && 'n' in body && typeof body.n === 'number';
}

/** The server's end of all channels of one connection. Returns the receiver of their frames. */
export function serveChannels(socket: Socket, write: (frame: Frame) => void): (frame: Frame) => void {
  const receivers = new Map<number, Receive>();
  return ([, id, header, body]) => {
    const { channel_life_cycle: lifeCycle, target = '' } = header;
    if (lifeCycle !== 'DECLARE') {
      receivers.get(id)?.(lifeCycle, body);
      if (lifeCycle === 'DROP') receivers.delete(id);
      return;
    }
    const open = channelHandlers.get(target);
    if (!open) throw new Error(`No channel handler for ${target}`);
    receivers.set(id, open({ id, socket, write, body }));
  };
}

/** The client's end. `receive` takes the frames of all channels; late frames find no receiver. */
export function rawStreams(socket: Socket, nextId: () => number) {
  const write = batchedWriter(socket);
  const receivers = new Map<number, (body: unknown) => void>();

  const open = (name: string, body: unknown, receive: (body: unknown) => void): number => {
    const id = nextId();
    receivers.set(id, receive);
    write([CHANNEL, id, { channel_life_cycle: 'DECLARE', target: `/default/${name}` }, body]);
    return id;
  };
  const drop = (id: number): void => {
    receivers.delete(id);
    write(channelFrame(id, 'DROP', null));
  };

  const operations: PeerClient = {
    consume: (name, params, take) =>
      new Promise((resolve) => {
        const id = open(name, params, (item) => {
          if (take(item)) return;
          drop(id);
          resolve();
        });
      }),

    open(name, params) {
      const queue = new ItemQueue();
      const id = open(name, params, (item) => {
        queue.push(item);
        socket.pause();
      });
      return {
        read() {
          if (queue.isEmpty) socket.resume();
          return queue.read();
        },
        async cancel() {
          drop(id);
          socket.resume();
        },
      };
    },

    async produce(name, next) {
      let id = 0;
      const tally = new Promise((resolve) => (id = open(name, null, resolve)));
      // The batched writer sends DECLARE in the next tick.
      await nextTurn();
      await pump(socket, () => {
        const value = next();
        return value === undefined ? undefined : channelFrame(id, 'MSG', value);
      });
      write(channelFrame(id, 'END', null));
      return tally.finally(() => drop(id));
    },

    exchange: (name, first, answer) =>
      new Promise((resolve) => {
        let underWay = first.length;
        const id = open(name, null, (echo) => {
          const value = answer(echo);
          if (value !== undefined) write(channelFrame(id, 'MSG', value));
          else if (--underWay === 0) {
            drop(id);
            resolve();
          }
        });
        for (const value of first) write(channelFrame(id, 'MSG', value));
      }),
  };

  return { operations, receive: ([, id, , body]: Frame): void => receivers.get(id)?.(body) };
}
