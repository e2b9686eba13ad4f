import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Channel } from '../channel/channel.js';
import { Expiring } from '../time/deadline-queue.js';
import { isOwnTimeout } from '../time/own-timeout.js';
import { callTimeout, type CallTiming } from './call-timeout.js';

export interface ChannelTiming extends CallTiming {
  /** The caller set it for the whole channel; else it is for the answer to DECLARE. */
  readonly whole: boolean;
}

/** Ends a channel that the server does not open in time, or, where the caller set a limit, the whole of it. */
export class ChannelLimit extends Expiring {
  constructor(
    private readonly channel: Channel,
    private readonly timing: ChannelTiming,
    private readonly clock: Clock,
  ) {
    super();
    if (timing.whole) channel.limit = this;
  }

  override expire(): void {
    if (this.timing.whole || this.channel.isDeclaring) this.channel.cancel(this.#fault());
  }

  /** What an end with a fault of the peer is to the caller: where both see the time end, that of this side. */
  endedByPeer(fault: Fault): Fault {
    return isOwnTimeout(fault, this, this.clock) ? this.#fault() : fault;
  }

  #fault(): Fault {
    return callTimeout(this.timing, 'response');
  }
}
