import type { Clock } from '../../protocol/clock.js';
import type { Fault } from '../../protocol/fault.js';
import type { Channel } from '../channel/channel.js';
import { Expiring } from '../time/deadline-queue.js';
import { isOwnTimeout } from '../time/own-timeout.js';
import { callTimeout, type CallTiming } from './call-timeout.js';

export interface ChannelTiming extends CallTiming {
  /** The caller set it for the whole channel; else it limits the answer to DECLARE. */
  readonly whole: boolean;
}

/** Cancels a channel that the server does not open in time, or that exceeds the caller's limit. */
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

  /** The fault for the caller if the peer ends the channel: if the deadline has passed on both sides, this side's own. */
  endedByPeer(fault: Fault): Fault {
    return isOwnTimeout(fault, this, this.clock) ? this.#fault() : fault;
  }

  #fault(): Fault {
    return callTimeout(this.timing, 'response');
  }
}
