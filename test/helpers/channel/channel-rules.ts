import type { EncodedHeader } from '../../../lib/protocol/bytes/encoded-frame.js';
import { MsgType, type Header } from '../../../lib/protocol/frame.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import type { Peer } from '../../../lib/rpc/connection/peer.js';
import { plainHeader } from './fake-channel-host.js';
import type { LinkedLink } from '../linked-links.js';

/** What two peers agreed on, as far as channels are concerned. */
export interface ChannelAgreement {
  /** Bytes; `undefined` without credits. */
  readonly window: number | undefined;
  readonly halfClose: boolean;
  readonly fastOpen: boolean;
}

/** What one side has sent and heard of a channel. */
interface Progress {
  sentEnd: boolean;
  heardEnd: boolean;
  /** DROP, either way: nothing may be sent after it. */
  dropped: boolean;
  /** DECLARE was sent, and no answer to it has come. */
  unanswered: boolean;
  /** Bytes that it may send. */
  credit: number;
  /** Bytes that it has heard and not given back. */
  owed: number;
}

/** Watches what one peer sends of channels, frame by frame, and throws if the protocol forbids it. */
export class ChannelRules {
  readonly #progress = new Map<number, Progress>();

  constructor(
    private readonly agreed: ChannelAgreement,
    private readonly who: string,
  ) {}

  /** Looks at everything that a peer sends over its link, and hears. */
  watch(peer: Peer, link: LinkedLink): void {
    const send = link.send.bind(link);
    link.send = (type, id, header, body) => {
      const bytes = send(type, id, header, body);
      if (type === MsgType.Channel && !link.closed && !link.out.ending) this.#sends(id, header, body, bytes);
      return bytes;
    };
    const onFrame = peer.onFrame.bind(peer);
    peer.onFrame = (frame, bytes, cost) => {
      const [type, id, header, body] = frame;
      if (type === MsgType.Channel) this.#hears(id, header, body, bytes);
      onFrame(frame, bytes, cost);
    };
  }

  #of(id: number): Progress {
    let progress = this.#progress.get(id);
    if (!progress) {
      progress = {
        sentEnd: false,
        heardEnd: false,
        dropped: false,
        unanswered: false,
        credit: this.agreed.window ?? Infinity,
        owed: 0,
      };
      this.#progress.set(id, progress);
    }
    return progress;
  }

  #hears(id: number, header: Header, body: unknown, bytes: number): void {
    const progress = this.#of(id);
    if (header.channel_life_cycle === LifeCycle.Msg) progress.owed += bytes;
    if (header.channel_life_cycle === LifeCycle.Declare) progress.unanswered = false;
    if (header.channel_life_cycle === LifeCycle.Credit) progress.credit += body as number;
    if (header.channel_life_cycle === LifeCycle.End) progress.heardEnd = true;
    if (header.channel_life_cycle === LifeCycle.Drop) progress.dropped = true;
  }

  #sends(id: number, sent: Header | EncodedHeader | null, body: unknown, bytes: number): void {
    const header = plainHeader(sent ?? {});
    const { channel_life_cycle: lifeCycle, status_code: status } = header;
    const progress = this.#of(id);
    const forbid = (isForbidden: boolean, why: string): void => {
      if (isForbidden)
        throw new Error(`the ${this.who} sends ${lifeCycle} (${status}) on channel ${id}: ${why}`);
    };
    forbid(status === 1008, 'no honest peer has to be accused');
    forbid(progress.dropped, 'after DROP');
    forbid(progress.sentEnd && progress.heardEnd, 'after both have ended');
    switch (lifeCycle) {
      case LifeCycle.Declare:
        progress.unanswered = this.who === 'client';
        return;
      case LifeCycle.Msg:
        forbid(progress.sentEnd, 'after END');
        forbid(progress.unanswered && !this.agreed.fastOpen, 'before the answer to DECLARE');
        forbid(progress.credit <= 0, 'without credit');
        progress.credit -= bytes;
        return;
      case LifeCycle.End:
        forbid(!this.agreed.halfClose, 'not agreed');
        forbid(progress.sentEnd, 'twice');
        forbid(progress.unanswered && !this.agreed.fastOpen, 'before the answer to DECLARE');
        progress.sentEnd = true;
        return;
      case LifeCycle.Credit:
        forbid(this.agreed.window === undefined, 'not agreed');
        forbid(progress.heardEnd, 'after the end of the peer');
        forbid(!Number.isInteger(body) || (body as number) <= 0, `no credit: ${String(body)}`);
        forbid((body as number) > progress.owed, 'more than it has heard');
        progress.owed -= body as number;
        return;
      case LifeCycle.Drop:
        progress.dropped = true;
        return;
      default:
        forbid(true, 'no such life cycle');
    }
  }
}
