import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { OneWay } from './one-way.js';

/** Addresses of both ends, as a socket shows them. */
export interface Ends {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
}

/** One end of a connection in memory, with what the product uses of a socket. */
export class MemorySocket extends Duplex implements Ends {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #incoming: OneWay;
  readonly #outgoing: OneWay;

  constructor(
    { remoteAddress, remotePort, localAddress, localPort }: Ends,
    incoming: OneWay,
    outgoing: OneWay,
  ) {
    super({ allowHalfOpen: false });
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.localAddress = localAddress;
    this.localPort = localPort;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    incoming.to((bytes) => this.push(bytes));
  }

  /** Itself, as the product takes it. */
  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  setNoDelay(): this {
    return this;
  }

  override _read(): void {
    this.#incoming.want();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#outgoing.write([chunk], done);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: () => void): void {
    this.#outgoing.write(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: () => void): void {
    this.#outgoing.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#incoming.drop();
    this.#outgoing.end();
    done(error);
  }
}
