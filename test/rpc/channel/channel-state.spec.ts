import { Fault } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { Status } from '../../../lib/protocol/status.js';
import {
  CHANNEL_TABLE,
  type ChannelEvent,
  type ChannelState,
} from '../../../lib/rpc/channel/channel-state.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';

const STATES = ['declaring', 'endedEarly', 'open', 'ended', 'peerEnded', 'closed'] as const;
const EVENTS = ['peerDeclare', 'peerMsg', 'peerCredit', 'peerEnd', 'peerDrop', 'msg', 'end', 'drop'] as const;

const REFUSALS: Readonly<Record<string, string>> = {
  early: 'not declared yet',
  twice: 'a second DECLARE',
  theirs: 'the peer has ended its side',
  ours: 'this side has ended',
  over: 'the channel is closed',
};

/** What the protocol says, row by state and column by event: where it leads, or why it may not be. */
const PROTOCOL: Readonly<Record<ChannelState, string>> = {
  //          peerDeclare  peerMsg    peerCredit  peerEnd    peerDrop  msg        end         drop
  declaring: ' open        early      early       early      closed    declaring  endedEarly  closed',
  endedEarly: 'ended       early      early       early      closed    ours       ours        closed',
  open: '      twice       open       open        peerEnded  closed    open       ended       closed',
  ended: '     twice       ended      ended       closed     closed    ours       ours        closed',
  peerEnded: ' twice       theirs     peerEnded   theirs     closed    peerEnded  closed      closed',
  closed: '    over        over       over        over       over      over       over        over',
};

interface Expected {
  readonly to: ChannelState | undefined;
  readonly refused: string | undefined;
}

function expected(state: ChannelState, event: ChannelEvent): Expected {
  const word = PROTOCOL[state].trim().split(/\s+/)[EVENTS.indexOf(event)] ?? '';
  const refused = REFUSALS[word];
  return { to: refused ? undefined : (word as ChannelState), refused };
}

const PAIRS = STATES.flatMap((state) => EVENTS.map((event) => [state, event] as const));

it('has an answer for every state and every event, and no others', () => {
  const table = PAIRS.map(([state, event]) => [state, event, { ...CHANNEL_TABLE[state][event] }]);
  const protocol = PAIRS.map(([state, event]) => {
    const { to, refused } = expected(state, event);
    return [state, event, refused ? { refused } : { to }];
  });
  expect(table).toEqual(protocol);
  expect(Object.keys(CHANNEL_TABLE)).toEqual(STATES);
  for (const row of Object.values(CHANNEL_TABLE)) expect(Object.keys(row)).toEqual(EVENTS);
});

/** A channel that has come into a state by frames and calls. */
async function inState(state: ChannelState): Promise<ChannelLab> {
  const early = state === 'declaring' || state === 'endedEarly';
  const lab = new ChannelLab({ state: early ? 'declaring' : 'open' });
  if (state === 'endedEarly' || state === 'ended') await lab.channel.end();
  if (state === 'peerEnded') lab.receive(LifeCycle.End);
  if (state === 'closed') lab.channel.close();
  expect(lab.channel.state).toBe(state);
  return lab;
}

const PEER_FRAMES: Readonly<Partial<Record<ChannelEvent, [lifeCycle: string, body: unknown]>>> = {
  peerDeclare: [LifeCycle.Declare, null],
  peerMsg: [LifeCycle.Msg, 1],
  peerCredit: [LifeCycle.Credit, 1],
  peerEnd: [LifeCycle.End, null],
  peerDrop: [LifeCycle.Drop, null],
};

describe('a frame of the peer', () => {
  const pairs = PAIRS.filter(([, event]) => PEER_FRAMES[event]);
  it.each(pairs)('in state %s: %s', async (state, event) => {
    const { channel, host, receive } = await inState(state);
    const sentBefore = host.sent.length;
    const [lifeCycle, body] = PEER_FRAMES[event] ?? ['', null];
    const { to, refused } = expected(state, event);
    const wrong = receive(lifeCycle, body);
    // DROP for a channel that is over is what two that close at once send each other
    expect(wrong).toBe(event === 'peerDrop' ? undefined : refused);
    expect(channel.state).toBe(to ?? state);
    expect(host.sent).toHaveLength(sentBefore);
    // where both have ended, the peer may not know it yet: what it still sends is expected
    const peerKnows = state !== 'closed' && !(state === 'ended' && event === 'peerEnd');
    expect(host.releases).toEqual(channel.isClosed ? [peerKnows] : []);
    expect(channel.fault).toBeUndefined();
  });

  it.each(STATES)('with a life cycle that is none changes nothing in state %s', async (state) => {
    for (const lifeCycle of ['', 'drop', 'DESTROY', undefined, null, 7, ['MSG']]) {
      const { channel, receive } = await inState(state);
      expect(receive(lifeCycle, null)).toBe('unknown life cycle');
      expect(channel.state).toBe(state);
    }
  });
});

describe('a step of this side', () => {
  it.each(STATES)('msg in state %s', async (state) => {
    const { channel, host } = await inState(state);
    const { to, refused } = expected(state, 'msg');
    const write = outcomeOf(channel.write('hello'));
    await settled();
    expect(channel.state).toBe(to ?? state);
    expect(host.bodies(LifeCycle.Msg)).toEqual(refused ? [] : ['hello']);
    if (refused) expect(write.error).toMatchObject({ status: Status.ChannelLifeCycle, message: refused });
    else expect(write.state).toBe('resolved');
    if (refused) expect(() => channel.tryWrite('hello')).toThrow(refused);
    else expect(channel.tryWrite('hello')).toBe(true);
  });

  it.each(STATES)('end in state %s', async (state) => {
    const { channel, host } = await inState(state);
    const endsBefore = host.bodies(LifeCycle.End).length;
    const { to, refused } = expected(state, 'end');
    const end = outcomeOf(channel.end());
    await settled();
    expect(channel.state).toBe(to ?? state);
    expect(host.bodies(LifeCycle.End)).toHaveLength(endsBefore + (refused ? 0 : 1));
    if (refused) expect(end.error).toMatchObject({ status: Status.ChannelLifeCycle, message: refused });
    else expect(end.state).toBe('resolved');
  });

  it.each(STATES)('drop in state %s', async (state) => {
    const { channel, host } = await inState(state);
    channel.close();
    channel.close();
    expect(channel.state).toBe('closed');
    expect(host.bodies(LifeCycle.Drop)).toEqual([null]);
    expect(host.releases).toEqual([false]);
  });
});

describe('isDeclaring, isClosed and readable', () => {
  it.each([
    ['declaring', true, false, true],
    ['endedEarly', true, false, true],
    ['open', false, false, true],
    ['ended', false, false, true],
    ['peerEnded', false, false, false],
    ['closed', false, true, false],
  ] as const)('in state %s', async (state, isDeclaring, isClosed, readable) => {
    const { channel } = await inState(state);
    expect([channel.isDeclaring, channel.isClosed, channel.readable]).toEqual([
      isDeclaring,
      isClosed,
      readable,
    ]);
  });

  it('is readable after the end as long as messages wait', () => {
    const { channel, message, receive } = new ChannelLab();
    message(1);
    receive(LifeCycle.Drop, null);
    expect(channel.readable).toBe(true);
    channel.poll();
    expect(channel.readable).toBe(false);
  });
});

it('refuses with the fault that ended the channel, where one did', async () => {
  const { channel } = await inState('open');
  const fault = new Fault({ status: 500, message: 'the server fell over' });
  channel.peerGone(fault);
  await expect(channel.write(1)).rejects.toBe(fault);
  await expect(channel.end()).rejects.toBe(fault);
  expect(() => channel.tryWrite(1)).toThrow(fault);
});
