import { inspect } from 'node:util';
import type { CallOrder } from './call-order.js';
import type { MemoryNetwork, Side } from './memory-network.js';

/** Ends the fault that returned it, and no other. May be called twice. */
export type EndFault = () => void;

/** A fault that holds. */
interface Fault {
  readonly latencyMs?: number;
  readonly refuses?: true;
  readonly stalls?: Side;
}

/**
 * Faults of the connections between the clients and the server of a test bed. They are those of a network: the bytes are those of real
 * connections, and so the limits, time limits and errors of both sides are the real ones. Each fault holds for all connections, until
 * the function that it returns is called, or `clear()`. Of several latencies, the latest that holds counts.
 */
export class RapFaults {
  /** In the order of their start. */
  readonly #faults = new Set<Fault>();
  /** The latest `reorder()`, unless it was ended. */
  #reorder: object | undefined;

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
    return this.#start({ latencyMs: ms });
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
    return this.#start({ refuses: true });
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
    return this.#start({ stalls: side });
  }

  /**
   * The next calls reach the server in the reverse order. The server gets none of them until all have come; channels, streams and
   * events count as calls. It replaces an earlier one.
   *
   * @param calls how many; default 2
   * @throws RangeError unless `calls` is a whole number from 2
   */
  reorder(calls = 2): EndFault {
    if (!Number.isInteger(calls) || calls < 2)
      throw new RangeError(`reorder() needs a number of calls from 2, got ${inspect(calls)}`);
    const fault = {};
    this.#reorder = fault;
    this.order.hold(calls);
    return () => {
      if (this.#reorder === fault) this.#release();
    };
  }

  /** Ends all faults. What they held up arrives now. */
  clear(): void {
    this.#faults.clear();
    this.#apply();
    this.network.hurry();
    this.#release();
  }

  #start(fault: Fault): EndFault {
    this.#faults.add(fault);
    this.#apply();
    return () => {
      if (this.#faults.delete(fault)) this.#apply();
    };
  }

  #apply(): void {
    const faults = [...this.#faults];
    this.network.latencyMs = faults.findLast(({ latencyMs }) => latencyMs !== undefined)?.latencyMs ?? 0;
    this.network.refuses = faults.some(({ refuses }) => refuses);
    for (const side of ['client', 'server'] as const)
      this.network.stall(
        side,
        faults.some(({ stalls }) => stalls === side),
      );
  }

  #release(): void {
    this.#reorder = undefined;
    this.order.release();
  }
}
