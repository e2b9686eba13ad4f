import net from 'node:net';
import { Packr, UnpackrStream } from 'msgpackr';
import { WAIT_TIMEOUT_MS } from './timeouts.js';

/** A frame as plain msgpack; the codec under test is not used here. */
export type RawFrame = [type: number, id: number, header: Record<string, unknown>, body: unknown];

const packr = new Packr({ useRecords: false, variableMapSize: true });

export function pack(value: unknown): Buffer {
  return Buffer.from(packr.pack(value));
}

/** DECLARE as a Python client sends it. */
export const DECLARE: RawFrame = [
  103,
  3,
  { target: '/_event/DECLARE' },
  {
    client_info: { host: ['127.0.0.1', 1], version: '0.1', user_agent: 'Python3-0.0.0' },
    metadata: { app: 'demo' },
  },
];

/** One end of a socket that speaks literal bytes. */
export class RawSocket {
  /** Everything that was received and not taken yet. */
  readonly frames: RawFrame[] = [];
  /** Whether the other side has closed. */
  closed = false;
  #wake: (() => void)[] = [];

  constructor(readonly socket: net.Socket) {
    const unpack = new UnpackrStream({ useRecords: false, int64AsType: 'auto' } as object);
    socket.pipe(unpack);
    unpack.on('error', () => {}); // the other side may break off in a frame, or send none at all
    unpack.on('data', (frame: RawFrame) => {
      this.frames.push(frame);
      this.#notify();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#notify();
    });
  }

  static connect(port: number): Promise<RawSocket> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1' }, () => resolve(new RawSocket(socket)));
      socket.once('error', reject);
    });
  }

  /** Connects and completes the handshake. */
  static async open(port: number, declare: RawFrame = DECLARE): Promise<RawSocket> {
    const raw = await RawSocket.connect(port);
    raw.send(declare);
    await raw.next((frame) => frame[0] === 103 && frame[1] === declare[1]);
    return raw;
  }

  send(...frames: RawFrame[]): void {
    this.socket.write(Buffer.concat(frames.map(pack)));
  }

  /** Bytes as hex (white space is ignored), or a buffer. */
  bytes(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes.replace(/\s/g, ''), 'hex') : bytes);
  }

  /** Takes the first frame that matches, now or when it comes; rejects when the connection closes before. */
  async next(
    match: (frame: RawFrame) => boolean = () => true,
    timeoutMs = WAIT_TIMEOUT_MS,
  ): Promise<RawFrame> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const index = this.frames.findIndex(match);
      if (index >= 0) return this.frames.splice(index, 1)[0] as RawFrame;
      if (this.closed) throw new Error('closed before the frame came');
      await this.#change(until, 'no such frame');
    }
  }

  /** The answer to the call or event with this id. */
  answer(id: number, timeoutMs?: number): Promise<RawFrame> {
    return this.next((frame) => frame[1] === id && frame[0] !== 203, timeoutMs);
  }

  /** The reason that CLOSE gives. */
  async closeReason(timeoutMs?: number): Promise<unknown> {
    return (await this.next((frame) => frame[2]['target'] === '/_event/CLOSE', timeoutMs))[3];
  }

  async waitClosed(timeoutMs = WAIT_TIMEOUT_MS): Promise<void> {
    const until = performance.now() + timeoutMs;
    while (!this.closed) await this.#change(until, 'not closed');
  }

  destroy(): void {
    this.socket.destroy();
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  #change(until: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${what} in time`)),
        Math.max(1, until - performance.now()),
      );
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** A server that plays literal frames; each connection goes to `script`. */
export async function scriptedServer(
  script: (peer: RawSocket) => void | Promise<void>,
): Promise<{ port: number; peers: RawSocket[]; close(): Promise<void> }> {
  const peers: RawSocket[] = [];
  const server = net.createServer((socket) => {
    const peer = new RawSocket(socket);
    peers.push(peer);
    Promise.resolve(script(peer)).catch(() => peer.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    peers,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const peer of peers) peer.destroy();
      }),
  };
}

/** Answers DECLARE as a Python server does. */
export async function answerDeclare(peer: RawSocket): Promise<RawFrame> {
  const declare = await peer.next((frame) => frame[2]['target'] === '/_event/DECLARE');
  peer.send([
    103,
    declare[1],
    {},
    {
      conn_id: '5222157144737554433',
      server_info: { host: ['127.0.0.1', 1], version: '0.1', user_agent: 'Python3-0.0.0' },
    },
  ]);
  return declare;
}
