import net from 'node:net';
import { Unpackr } from 'msgpackr';
import { WAIT_TIMEOUT_MS } from './timeouts.js';
import type { RawFrame } from './raw-socket.js';

/** A frame as it was on the wire, and what msgpack says it is. */
export interface WireFrame {
  readonly bytes: Buffer;
  readonly frame: RawFrame;
}

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' } as object);

/** One end of a socket that speaks literal bytes and keeps those that it gets. The codec under test is not used. */
export class WirePeer {
  /** What came and was not taken yet. */
  readonly frames: WireFrame[] = [];
  /** The other side has ended its half. */
  ended = false;
  #unread = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  constructor(readonly socket: net.Socket) {
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', () => {});
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.ended = true;
        this.#notify();
      });
    }
  }

  static connect(port: number): Promise<WirePeer> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1' }, () => resolve(new WirePeer(socket)));
      socket.once('error', reject);
    });
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Takes the first frame that matches, now or when it comes. */
  async next(what: string, match: (frame: RawFrame) => boolean = () => true): Promise<WireFrame> {
    for (;;) {
      const index = this.frames.findIndex(({ frame }) => match(frame));
      if (index >= 0) return this.frames.splice(index, 1)[0] as WireFrame;
      if (this.ended) throw new Error(`the connection ended before ${what}`);
      await this.#change(what);
    }
  }

  async untilEnded(): Promise<void> {
    while (!this.ended) await this.#change('the end');
  }

  end(): void {
    this.socket.end();
  }

  #read(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    let end = 0;
    try {
      unpackr.unpackMultiple(this.#unread, (frame: unknown, start?: number, stop?: number) => {
        end = stop as number;
        this.frames.push({ frame: frame as RawFrame, bytes: this.#unread.subarray(start, stop) });
      });
    } catch (error) {
      if (!(error as { incomplete?: boolean }).incomplete) throw error;
    }
    this.#unread = this.#unread.subarray(end);
    this.#notify();
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  #change(what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what} did not come in time`)), WAIT_TIMEOUT_MS);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
