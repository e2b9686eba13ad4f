import { inspect } from 'node:util';
import type { CallOrder } from './call-order.js';
import type { MemoryNetwork, Side } from './memory-network.js';

/** Ends a fault. May be called twice. */
export type EndFault = () => void;

/**
 * Faults of the connections between the clients and the server of a test bed. They are those of a network: the bytes are those of real
 * connections, and so the limits, time limits and errors of both sides are the real ones. Each fault holds for all connections, until
 * the function that it returns is called, or `clear()`.
 */
export class RapFaults {
  /** @internal */
  constructor(
    private readonly network: MemoryNetwork,
    private readonly order: CallOrder,
  ) {}

  /**
   * Everything that is sent from now on takes this long to arrive, in both directions: a call takes at least twice as long. It is
   * measured on the bed's clock.
   *
   * @param ms milliseconds
   * @throws RangeError unless `ms` is a number from 0
   */
  latency(ms: number): EndFault {
    if (typeof ms !== 'number' || !(ms >= 0 && ms < Infinity))
      throw new RangeError(`latency() needs milliseconds, got ${inspect(ms)}`);
    this.network.latencyMs = ms;
    return () => {
      this.network.latencyMs = 0;
    };
  }

  /**
   * Breaks all connections at once. What is in flight fails with `ConnectionLostError`, the signals of its handlers abort, and the
   * clients connect again.
   */
  disconnect(): void {
    this.network.breakAll();
  }

  /** Attempts to connect fail, as if no server listened. Open connections stay: `disconnect()` ends them. */
  refuseConnections(): EndFault {
    this.network.refuses = true;
    return () => {
      this.network.refuses = false;
    };
  }

  /**
   * One side reads nothing; what it sends still arrives. The other side notices by answers that do not come, by a window that stays
   * full, and after 256 KiB by writes that are not taken. If neither side reads, it is as if a cable were cut.
   *
   * @param side the one that does not read; default the client
   */
  stallReader(side: Side = 'client'): EndFault {
    if (side !== 'client' && side !== 'server')
      throw new RangeError(`stallReader() needs 'client' or 'server', got ${inspect(side)}`);
    this.network.stall(side, true);
    return () => this.network.stall(side, false);
  }

  /**
   * The next calls reach the server in the reverse order. The server gets none of them until all have come; channels, streams and
   * events count as calls.
   *
   * @param calls how many; default 2
   * @throws RangeError unless `calls` is a whole number from 2
   */
  reorder(calls = 2): EndFault {
    if (!Number.isInteger(calls) || calls < 2)
      throw new RangeError(`reorder() needs a number of calls from 2, got ${inspect(calls)}`);
    this.order.hold(calls);
    return () => this.order.release();
  }

  /** Ends all faults. What they held up arrives now. */
  clear(): void {
    this.network.refuses = false;
    this.network.latencyMs = 0;
    this.network.stall('client', false);
    this.network.stall('server', false);
    this.network.hurry();
    this.order.release();
  }
}
