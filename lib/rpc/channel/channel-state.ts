/**
 * The state of a channel, as one side sees it.
 *
 * - `declaring`: DECLARE was sent and not answered yet (clients only)
 * - `endedEarly`: the same, and this side has sent END
 * - `open`: both sides may write
 * - `ended`: half-closed by this side, the peer may still write
 * - `peerEnded`: half-closed by the peer, this side may still write
 * - `closed`
 */
export type ChannelState = 'declaring' | 'endedEarly' | 'open' | 'ended' | 'peerEnded' | 'closed';

/** A frame of the peer, or a step of this side. */
export type ChannelEvent =
  'peerDeclare' | 'peerMsg' | 'peerCredit' | 'peerEnd' | 'peerDrop' | 'msg' | 'end' | 'drop';

/** Why an event is refused. A violation by the peer is answered with 1008, a misuse by this side fails with 10081. */
export type ChannelRefusal =
  | 'a second DECLARE'
  | 'not declared yet'
  | 'the peer has ended its side'
  | 'this side has ended'
  | 'the channel is closed';

/** The next state, or a refusal. */
export type ChannelStep = { readonly to: ChannelState } | { readonly refused: ChannelRefusal };

const to = (state: ChannelState): ChannelStep => ({ to: state });
const refused = (refusal: ChannelRefusal): ChannelStep => ({ refused: refusal });

const CLOSED = to('closed');
const IS_CLOSED = refused('the channel is closed');

/** Every state and every event. */
export const CHANNEL_TABLE: Readonly<Record<ChannelState, Readonly<Record<ChannelEvent, ChannelStep>>>> = {
  declaring: {
    peerDeclare: to('open'),
    peerMsg: refused('not declared yet'),
    peerCredit: refused('not declared yet'),
    peerEnd: refused('not declared yet'),
    peerDrop: CLOSED,
    msg: to('declaring'),
    end: to('endedEarly'),
    drop: CLOSED,
  },
  endedEarly: {
    peerDeclare: to('ended'),
    peerMsg: refused('not declared yet'),
    peerCredit: refused('not declared yet'),
    peerEnd: refused('not declared yet'),
    peerDrop: CLOSED,
    msg: refused('this side has ended'),
    end: refused('this side has ended'),
    drop: CLOSED,
  },
  open: {
    peerDeclare: refused('a second DECLARE'),
    peerMsg: to('open'),
    peerCredit: to('open'),
    peerEnd: to('peerEnded'),
    peerDrop: CLOSED,
    msg: to('open'),
    end: to('ended'),
    drop: CLOSED,
  },
  ended: {
    peerDeclare: refused('a second DECLARE'),
    peerMsg: to('ended'),
    peerCredit: to('ended'),
    peerEnd: CLOSED,
    peerDrop: CLOSED,
    msg: refused('this side has ended'),
    end: refused('this side has ended'),
    drop: CLOSED,
  },
  peerEnded: {
    peerDeclare: refused('a second DECLARE'),
    peerMsg: refused('the peer has ended its side'),
    peerCredit: to('peerEnded'),
    peerEnd: refused('the peer has ended its side'),
    peerDrop: CLOSED,
    msg: to('peerEnded'),
    end: CLOSED,
    drop: CLOSED,
  },
  closed: {
    peerDeclare: IS_CLOSED,
    peerMsg: IS_CLOSED,
    peerCredit: IS_CLOSED,
    peerEnd: IS_CLOSED,
    peerDrop: IS_CLOSED,
    msg: IS_CLOSED,
    end: IS_CLOSED,
    drop: IS_CLOSED,
  },
};
