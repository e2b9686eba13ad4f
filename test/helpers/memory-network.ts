import type { Server, Socket } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import type { Network } from '../../lib/net/network.js';

/** One server that is reached in memory. */
export class OneServerNetwork implements Network {
  /** The client's sockets. */
  readonly sockets: Socket[] = [];
  #server: Server | undefined;

  listen(server: Server): string {
    this.#server = server;
    return 'in memory';
  }

  stop(): void {
    this.#server = undefined;
  }

  connect(): Socket {
    const [near, far] = duplexPair({ allowHalfOpen: false }).map(socketOf) as [Socket, Socket];
    near.once('close', () => far.destroy());
    far.once('close', () => near.destroy());
    this.sockets.push(near);
    setImmediate(() => {
      if (this.#server?.emit('connection', far)) near.emit('connect');
      else near.destroy(Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' }));
    });
    return near;
  }
}

function socketOf(duplex: Duplex): Socket {
  const ends = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 };
  return Object.assign(duplex, { ...ends, setNoDelay: () => duplex }) as unknown as Socket;
}
