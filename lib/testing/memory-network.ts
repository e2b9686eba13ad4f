import type { Server, Socket } from 'node:net';
import type { Network } from '../net/network.js';
import { setImmediate } from '../net/runtime.js';
import type { Clock } from '../protocol/clock.js';
import { type Ends, MemorySocket } from './memory-socket.js';
import { OneWay } from './one-way.js';

/** An end of the connections, by what it is. */
export type Side = 'client' | 'server';

interface Connection {
  readonly sockets: readonly MemorySocket[];
  /** By the side that reads. */
  readonly ways: Readonly<Record<Side, OneWay>>;
}

export interface MemoryNetworkOptions {
  readonly clock: Clock;
  /** The address that servers see of clients. */
  readonly address: string;
  /** The first connection waits for it. */
  readonly ready?: (() => Promise<unknown>) | undefined;
}

const SERVER_PORT = 9000;
const FIRST_CLIENT_PORT = 50_000;

/** A network of one server, in memory. Faults hold for all connections, also for those that are made later. */
export class MemoryNetwork implements Network {
  /** Counts what arrives. */
  moves = 0;
  /** Connections that fail now, as if nobody listened. */
  refuses = false;
  readonly #connections = new Set<Connection>();
  readonly #stalled = new Set<Side>();
  #latencyMs = 0;
  #server: Server | undefined;
  #port = FIRST_CLIENT_PORT;

  constructor(private readonly options: MemoryNetworkOptions) {}

  listen(server: Server): string {
    this.#server = server;
    return 'in memory';
  }

  stop(): void {
    this.#server = undefined;
  }

  connect(): Socket {
    const connection = this.#connection();
    const [near] = connection.sockets as [MemorySocket];
    const { ready } = this.options;
    if (ready)
      ready().then(() => this.#accept(connection), (error: Error) => near.destroy(error)); // prettier-ignore
    else setImmediate(() => this.#accept(connection));
    return near.asSocket;
  }

  /** Open connections. */
  get size(): number {
    return this.#connections.size;
  }

  set latencyMs(ms: number) {
    this.#latencyMs = ms;
    this.#apply();
  }

  /** Stops an end reading, or lets it read again. */
  stall(side: Side, isStalled: boolean): void {
    if (isStalled) this.#stalled.add(side);
    else this.#stalled.delete(side);
    this.#apply();
  }

  /** What is on its way arrives now. */
  hurry(): void {
    for (const { ways } of this.#connections) {
      ways.client.hurry();
      ways.server.hurry();
    }
  }

  /** Breaks all connections, as if the network had failed. */
  breakAll(): void {
    for (const { sockets } of this.#connections) for (const socket of sockets) socket.destroy(lost());
  }

  #connection(): Connection {
    const port = (this.#port += 1);
    const { clock, address } = this.options;
    const onMove = (): void => {
      this.moves += 1;
    };
    const ways = { client: new OneWay(clock, onMove), server: new OneWay(clock, onMove) };
    const client = { address, port };
    const server = { address: '127.0.0.1', port: SERVER_PORT };
    const near = new MemorySocket(ends(client, server), ways.client, ways.server);
    const far = new MemorySocket(ends(server, client), ways.server, ways.client);
    const connection = { sockets: [near, far], ways };
    const closed = (): void => {
      if (near.closed && far.closed) this.#connections.delete(connection);
    };
    near.once('close', closed);
    far.once('close', closed);
    far.on('error', () => {}); // it may fail before it is accepted
    return connection;
  }

  #accept(connection: Connection): void {
    const [near, far] = connection.sockets as [MemorySocket, MemorySocket];
    if (near.destroyed) return; // nobody waits for it any more
    if (!this.#server || this.refuses) {
      near.destroy(refused());
      return;
    }
    this.#connections.add(connection);
    this.#apply();
    this.#server.emit('connection', far.asSocket);
    near.emit('connect');
  }

  #apply(): void {
    for (const { ways } of this.#connections)
      for (const side of ['client', 'server'] as const) {
        ways[side].latencyMs = this.#latencyMs;
        ways[side].isStalled = this.#stalled.has(side);
      }
  }
}

interface Address {
  readonly address: string;
  readonly port: number;
}

function ends(local: Address, remote: Address): Ends {
  return {
    localAddress: local.address,
    localPort: local.port,
    remoteAddress: remote.address,
    remotePort: remote.port,
  };
}

function lost(): Error {
  return Object.assign(new Error('the connection was lost (faults)'), { code: 'ECONNRESET' });
}

function refused(): Error {
  return Object.assign(new Error('nobody listens, or connections are refused (faults)'), {
    code: 'ECONNREFUSED',
  });
}
