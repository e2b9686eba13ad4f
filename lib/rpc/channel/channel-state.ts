/**
 * The state of a channel, as one side sees it.
 *
 * - `declaring`: DECLARE was sent, its answer has not come (clients only)
 * - `open`: both sides may write
 * - `ended`: this side has written its last message, the peer may still write
 * - `peerEnded`: the peer has written its last message, this side may still write
 * - `closed`: over
 */
export type ChannelState = 'declaring' | 'endedEarly' | 'open' | 'ended' | 'peerEnded' | 'closed';

/** What happens to a channel: a frame of the peer, or a step of this side. */
export type ChannelEvent =
  'peerDeclare' | 'peerMsg' | 'peerCredit' | 'peerEnd' | 'peerDrop' | 'msg' | 'end' | 'drop';

/** Why a step is not possible. A violation is answered with 1008, a misuse of this side fails with 10081. */
export type ChannelRefusal =
  | 'a second DECLARE'
  | 'not declared yet'
  | 'the peer has ended its side'
  | 'this side has ended'
  | 'the channel is closed';

/** A step leads to a state, or is refused. */
export type ChannelStep = { readonly to: ChannelState } | { readonly refused: ChannelRefusal };

const to = (state: ChannelState): ChannelStep => ({ to: state });
const refused = (refusal: ChannelRefusal): ChannelStep => ({ refused: refusal });

const CLOSED = to('closed');
const IS_CLOSED = refused('the channel is closed');

/** Every state and every event. `endedEarly`: this side wrote its last message before DECLARE was answered. */
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
