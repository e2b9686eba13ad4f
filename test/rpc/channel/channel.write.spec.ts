import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { Status } from '../../../lib/protocol/status.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import { ChannelLab, UNSENDABLE } from '../../helpers/channel/fake-channel-host.js';
import { outcomeOf, settled, type Outcome } from '../../helpers/outcome.js';

const fault = new Fault({ status: 500, message: 'the server fell over' });

const states = (outcomes: readonly Outcome[]): string[] => outcomes.map(({ state }) => state);
const writing = (channel: Channel, ...bodies: unknown[]): Outcome<void>[] =>
  bodies.map((body) => outcomeOf(channel.write(body)));

describe('write', () => {
  it('sends at once, with the header of the message', async () => {
    const { channel, host } = new ChannelLab();
    expect(channel.wroteAny).toBe(false);
    await channel.write('plain');
    await channel.write('noted', { 'x-note': 1, channel_life_cycle: LifeCycle.Drop });
    expect(host.sent).toEqual([
      [LifeCycle.Msg, 'plain'],
      [LifeCycle.Msg, 'noted', { 'x-note': 1 }],
    ]);
    expect(channel.wroteAny).toBe(true);
  });

  it('waits while the connection takes no more, and goes out one message a turn', async () => {
    const { channel, host } = new ChannelLab();
    host.room = false;
    const writes = writing(channel, 'a', 'b', 'c');
    expect(channel.flushOne()).toBe(true);
    await settled();
    expect([states(writes), channel.wroteAny]).toEqual([['pending', 'pending', 'pending'], false]);
    host.room = true;
    expect([channel.flushOne(), channel.flushOne()]).toEqual([true, true]);
    expect(host.bodies(LifeCycle.Msg)).toEqual(['a', 'b']);
    await settled();
    expect(states(writes)).toEqual(['resolved', 'resolved', 'pending']);
    expect([channel.flushOne(), channel.flushOne()]).toEqual([false, false]);
    await settled();
    expect(host.bodies(LifeCycle.Msg)).toEqual(['a', 'b', 'c']);
  });

  it('asks for no turn where it waits for credit, not for the connection', () => {
    const { channel } = new ChannelLab({ sendWindow: 10 });
    writing(channel, 10, 1);
    expect(channel.flushOne()).toBe(false);
  });

  it('keeps its order where both the connection and the credit run out and come back', () => {
    const { channel, host, receive } = new ChannelLab({ sendWindow: 10 });
    host.room = false;
    writing(channel, 4, 6, 7, 8);
    host.room = true;
    channel.flushOne();
    host.room = false;
    receive(LifeCycle.Credit, 100);
    host.room = true;
    writing(channel, 9);
    while (channel.flushOne());
    expect(host.bodies(LifeCycle.Msg)).toEqual([4, 6, 7, 8, 9]);
  });

  it('sends nothing before DECLARE is answered, where the peer has no fast_open', async () => {
    const { channel, host, receive } = new ChannelLab({ state: 'declaring', fastOpen: false });
    const writes = writing(channel, 'a', 'b');
    expect(channel.tryWrite('c')).toBe(false);
    channel.flushOne();
    await settled();
    expect([host.sent, states(writes)]).toEqual([[], ['pending', 'pending']]);
    receive(LifeCycle.Declare);
    await settled();
    expect([host.bodies(LifeCycle.Msg), states(writes)]).toEqual([
      ['a', 'b'],
      ['resolved', 'resolved'],
    ]);
  });

  it('sends before DECLARE is answered, where the peer has fast_open', () => {
    const { channel, host, receive } = new ChannelLab({ state: 'declaring', fastOpen: true });
    writing(channel, 'a');
    expect(host.bodies(LifeCycle.Msg)).toEqual(['a']);
    receive(LifeCycle.Declare);
    expect(host.bodies(LifeCycle.Msg)).toEqual(['a']);
  });

  it('fails alone where its body cannot be encoded, at once or after a wait', async () => {
    const { channel, host } = new ChannelLab();
    const atOnce = outcomeOf(channel.write(UNSENDABLE));
    host.room = false;
    const waiting = writing(channel, 'a', UNSENDABLE, 'b', UNSENDABLE);
    const end = outcomeOf(channel.end());
    host.room = true;
    while (channel.flushOne());
    await settled();
    expect(atOnce.error).toMatchObject({ message: 'the body cannot be encoded' });
    expect(states(waiting)).toEqual(['resolved', 'rejected', 'resolved', 'rejected']);
    expect(waiting[1]?.error).toMatchObject({ status: 1002, message: 'the body cannot be encoded' });
    expect(end.state).toBe('resolved');
    expect(host.sent).toEqual([
      [LifeCycle.Msg, 'a'],
      [LifeCycle.Msg, 'b'],
      [LifeCycle.End, null],
    ]);
    expect(() => new ChannelLab().channel.tryWrite(UNSENDABLE)).toThrow('the body cannot be encoded');
  });

  it('fails alone where its body cannot be encoded and credit is what the others waited for', async () => {
    const { channel, host, receive } = new ChannelLab({ sendWindow: 1 });
    const writes = writing(channel, 1, UNSENDABLE, 2, UNSENDABLE, 3);
    receive(LifeCycle.Credit, 1);
    receive(LifeCycle.Credit, 2);
    await settled();
    expect(host.bodies(LifeCycle.Msg)).toEqual([1, 2, 3]);
    expect(states(writes)).toEqual(['resolved', 'rejected', 'resolved', 'rejected', 'resolved']);
  });

  it('is refused where 1024 writes wait already, and the others go on', async () => {
    const { channel, host } = new ChannelLab({ sendWindow: 10_000 });
    host.room = false;
    const writes = writing(channel, ...Array.from({ length: 1024 }, (_, i) => `${i}`));
    const refused = outcomeOf(channel.write('one too many'));
    await settled();
    expect(refused.error).toMatchObject({ code: LocalCode.Overload, status: 429, sent: 'no' });
    expect(channel.tryWrite('no room')).toBe(false);
    host.room = true;
    channel.flushOne();
    host.room = false;
    writing(channel, 'the place is free again');
    host.room = true;
    while (channel.flushOne());
    await settled();
    expect(new Set(states(writes))).toEqual(new Set(['resolved']));
    expect(host.bodies(LifeCycle.Msg)).toHaveLength(1025);
    expect(host.bodies(LifeCycle.Msg).at(-1)).toBe('the place is free again');
  });
});

describe('end', () => {
  it('comes after all writes that wait, whatever they wait for', async () => {
    const { channel, host, receive } = new ChannelLab({
      sendWindow: 10,
      state: 'declaring',
      fastOpen: false,
    });
    const writes = writing(channel, 10, 1);
    const end = outcomeOf(channel.end());
    await settled();
    expect(end.state).toBe('pending');
    host.room = false;
    receive(LifeCycle.Declare);
    host.room = true;
    channel.flushOne();
    await settled();
    expect([states(writes), end.state]).toEqual([['resolved', 'pending'], 'pending']);
    receive(LifeCycle.Credit, 1);
    await settled();
    expect([states(writes), end.state, channel.state]).toEqual([
      ['resolved', 'resolved'],
      'resolved',
      'ended',
    ]);
    expect(host.sent).toEqual([
      [LifeCycle.Msg, 10],
      [LifeCycle.Msg, 1],
      [LifeCycle.End, null],
    ]);
  });

  it('waits for the answer to DECLARE where the peer has no fast_open, also with nothing written', async () => {
    const { channel, host, receive } = new ChannelLab({ state: 'declaring', fastOpen: false });
    const end = outcomeOf(channel.end());
    await settled();
    expect([host.sent, end.state, channel.isDeclaring]).toEqual([[], 'pending', true]);
    receive(LifeCycle.Declare);
    await settled();
    expect([host.sent, end.state, channel.state]).toEqual([[[LifeCycle.End, null]], 'resolved', 'ended']);
  });

  it('refuses writes and a second end as soon as it is asked for', async () => {
    const { channel, host } = new ChannelLab();
    host.room = false;
    writing(channel, 'waits');
    const end = outcomeOf(channel.end());
    const late = [...writing(channel, 'too late'), outcomeOf(channel.end())];
    await settled();
    expect(late.map(({ error }) => error)).toEqual([
      expect.objectContaining({ status: Status.ChannelLifeCycle, message: 'this side has ended' }),
      expect.objectContaining({ status: Status.ChannelLifeCycle, message: 'this side has ended' }),
    ]);
    host.room = true;
    channel.flushOne();
    await settled();
    expect(end.state).toBe('resolved');
    expect(host.bodies(LifeCycle.Msg)).toEqual(['waits']);
  });

  it('rejects where the peer knows no half-closed channels, and changes nothing', async () => {
    const { channel, host } = new ChannelLab({ halfClose: false });
    const end = outcomeOf(channel.end());
    await settled();
    expect(end.error).toMatchObject({
      status: Status.ChannelLifeCycle,
      message: 'the peer does not know half-closed channels: use close()',
    });
    await channel.write('still');
    expect([channel.state, host.sent]).toEqual(['open', [[LifeCycle.Msg, 'still']]]);
  });

  it('closes the channel in order where the peer has ended: nothing more is sent', async () => {
    const { channel, host, receive } = new ChannelLab();
    receive(LifeCycle.End);
    await channel.end();
    expect([channel.state, channel.fault, channel.closedByPeer]).toEqual(['closed', undefined, false]);
    expect(host.sent).toEqual([[LifeCycle.End, null]]);
    expect(host.releases).toEqual([false]);
  });

  it('is over with the END of the peer, where it came after this side ended', async () => {
    const { channel, host, receive } = new ChannelLab();
    await channel.end();
    receive(LifeCycle.End);
    expect([channel.state, channel.fault, channel.closedByPeer]).toEqual(['closed', undefined, true]);
    expect([host.sent, host.releases]).toEqual([[[LifeCycle.End, null]], [false]]);
    expect(await channel.read()).toBeUndefined();
  });

  it('lets the last messages of the peer be read, where both have ended', async () => {
    const { channel, message, receive } = new ChannelLab();
    message(1);
    await channel.end();
    message(2);
    receive(LifeCycle.End);
    expect(channel.isClosed).toBe(true);
    const reads = [await channel.read(), await channel.read(), await channel.read()];
    expect(reads.map((read) => read?.body)).toEqual([1, 2, undefined]);
  });

  it.each([
    ['close', (channel: Channel) => channel.close(), Status.ChannelLifeCycle],
    ['cancel', (channel: Channel) => channel.cancel(fault), fault.status],
    ['a violation', (channel: Channel) => channel.violated(fault), fault.status],
    ['the end of the peer', (channel: Channel) => channel.peerGone(undefined), Status.ChannelLifeCycle],
    ['the end of the connection', (channel: Channel) => channel.peerGone(fault), fault.status],
  ])('rejects with all writes that wait at %s', async (_, over, status) => {
    const { channel, host } = new ChannelLab();
    host.room = false;
    const waiting = [...writing(channel, 1, 2), outcomeOf(channel.end())];
    over(channel);
    await settled();
    expect(waiting.map(({ error }) => (error as Fault).status)).toEqual([status, status, status]);
    host.room = true;
    expect(channel.flushOne()).toBe(false);
    expect(host.bodies(LifeCycle.Msg)).toEqual([]);
    expect(host.bodies(LifeCycle.End)).toEqual([]);
  });
});
