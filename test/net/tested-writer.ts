import { SocketWriter } from '../../lib/net/socket-writer.js';
import { bytesOf } from '../../lib/protocol/bytes/encoded-frame.js';
import { encodeFrame } from '../../lib/protocol/encoder.js';
import { DEFAULT_FRAME_LIMITS } from '../../lib/protocol/limits.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { FakeSocket } from '../helpers/fake-socket.js';

/** Time in which a blocked socket must take something. */
export const STALL_MS = 10_000;

/** A `SocketWriter` on a fake socket, and what went in. */
export class TestedWriter {
  readonly socket = new FakeSocket();
  readonly clock = new FakeClock();
  /** What the writer told: `drain`, `stall` or `unsealable`. */
  readonly log: string[] = [];
  readonly writer: SocketWriter;

  #expected: Buffer[] = [];
  #id = 1;

  constructor() {
    this.writer = new SocketWriter(this.socket.asSocket, {
      clock: this.clock,
      stallTimeoutMs: STALL_MS,
      onDrain: () => this.log.push('drain'),
      onStall: () => this.log.push('stall'),
      onUnsealable: () => this.log.push('unsealable'),
    });
  }

  /** Writes a frame. Returns its size. */
  write(body: unknown): number {
    const frame = encodeFrame(101, (this.#id += 2), null, body, DEFAULT_FRAME_LIMITS);
    this.#expected.push(bytesOf(frame));
    this.writer.write(frame);
    return frame.size;
  }

  /** Whether the socket has got all that was written, in its order. */
  get sent(): boolean {
    return this.socket.written.equals(Buffer.concat(this.#expected));
  }

  /** Forgets what was written and sent, but for what the socket has not taken. */
  forget(): void {
    this.#expected = [];
    this.socket.writes.splice(0, this.socket.writes.length - 1);
  }

  stop(): void {
    this.writer.stop();
    this.socket.destroy();
    expect(this.clock.pending).toBe(0);
  }
}
