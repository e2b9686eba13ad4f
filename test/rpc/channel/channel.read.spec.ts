import { Fault } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import type { WaitingRead } from '../../../lib/rpc/channel/channel-inbox.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';

const fault = new Fault({ status: 500, message: 'the server fell over' });

/** Bodies of what waits. */
function drain({ channel }: ChannelLab): unknown[] {
  const bodies: unknown[] = [];
  for (let message = channel.poll(); message; message = channel.poll()) bodies.push(message.body);
  return bodies;
}

describe('read', () => {
  it('gives messages in the order in which they came, with header and size', async () => {
    const lab = new ChannelLab();
    lab.receive(LifeCycle.Msg, 7, { 'x-note': 'first' });
    lab.message(8);
    expect(await lab.channel.read()).toEqual({ header: { 'x-note': 'first' }, body: 7, bytes: 7, cost: 1 });
    expect(await lab.channel.read()).toEqual({ header: {}, body: 8, bytes: 8, cost: 1 });
  });

  it('waits for the next message; several readers share them, first come first', async () => {
    const lab = new ChannelLab();
    const reads = [1, 2, 3].map(() => outcomeOf(lab.channel.read()));
    lab.message(1);
    lab.message(2);
    await settled();
    expect(reads.map(({ value }) => value?.body)).toEqual([1, 2, undefined]);
    expect(reads.map(({ state }) => state)).toEqual(['resolved', 'resolved', 'pending']);
    lab.channel.close();
  });

  it.each([[null], [0], [''], [false]])('takes %p as a message like any other', async (body) => {
    const lab = new ChannelLab();
    lab.message(body);
    expect(await lab.channel.read()).toMatchObject({ body });
    const read = lab.channel.read();
    lab.message(body);
    expect(await read).toMatchObject({ body });
  });

  it('gives what came before the end after it, and then the end', async () => {
    for (const end of [LifeCycle.End, LifeCycle.Drop]) {
      const lab = new ChannelLab();
      for (const body of [1, 2, 3]) lab.message(body);
      lab.receive(end);
      const reads = await Promise.all(Array.from({ length: 5 }, () => lab.channel.read()));
      expect(reads.map((message) => message?.body)).toEqual([1, 2, 3, undefined, undefined]);
    }
  });

  it('ends for all who wait when the peer ends its side, or the channel', async () => {
    for (const end of [LifeCycle.End, LifeCycle.Drop]) {
      const lab = new ChannelLab();
      const reads = [1, 2, 3].map(() => outcomeOf(lab.channel.read()));
      lab.receive(end);
      await settled();
      expect(reads.map(({ state, value }) => [state, value])).toEqual([
        ['resolved', undefined],
        ['resolved', undefined],
        ['resolved', undefined],
      ]);
    }
  });

  it('ends for all who wait when this side closes', async () => {
    const lab = new ChannelLab();
    const read = outcomeOf(lab.channel.read());
    lab.channel.close();
    await settled();
    expect([read.state, read.value]).toEqual(['resolved', undefined]);
    expect(await lab.channel.read()).toBeUndefined();
  });

  it('goes on after this side has ended', async () => {
    const lab = new ChannelLab();
    await lab.channel.end();
    const read = lab.channel.read();
    lab.message(4);
    expect((await read)?.body).toBe(4);
  });

  it('rejects with the fault that ended the channel, but not before all messages were read', async () => {
    const lab = new ChannelLab();
    lab.message(1);
    lab.message(2);
    lab.channel.peerGone(fault);
    expect([(await lab.channel.read())?.body, (await lab.channel.read())?.body]).toEqual([1, 2]);
    await expect(lab.channel.read()).rejects.toBe(fault);
    await expect(lab.channel.read()).rejects.toBe(fault);
  });

  it('rejects all who wait with the very same fault', async () => {
    const lab = new ChannelLab();
    const reads = [1, 2].map(() => outcomeOf(lab.channel.read()));
    lab.channel.peerGone(fault);
    await settled();
    expect(reads.map(({ error }) => error)).toEqual([fault, fault]);
    expect(reads[0]?.error).toBe(fault);
  });

  it('gives nothing of what waits once this side has closed or cancelled: it asked for no more', async () => {
    const closed = new ChannelLab();
    closed.message(1);
    closed.channel.close();
    expect(await closed.channel.read()).toBeUndefined();
    const cancelled = new ChannelLab();
    cancelled.message(1);
    cancelled.channel.cancel(fault);
    await expect(cancelled.channel.read()).rejects.toBe(fault);
  });

  it('gives what came before the peer broke the rules, and then that', async () => {
    const lab = new ChannelLab();
    lab.message(1);
    lab.channel.violated(fault);
    expect((await lab.channel.read())?.body).toBe(1);
    await expect(lab.channel.read()).rejects.toBe(fault);
  });

  it('waits while DECLARE is not answered, and ends with an error for an answer', async () => {
    const lab = new ChannelLab({ state: 'declaring' });
    const read = outcomeOf(lab.channel.read());
    await settled();
    expect(read.state).toBe('pending');
    lab.channel.peerGone(fault);
    await settled();
    expect(read.error).toBe(fault);
  });
});

/** A reader that keeps what it gets. */
function reader(): WaitingRead & { readonly got: unknown[] } {
  const got: unknown[] = [];
  return { got, resolve: (message) => got.push(message?.body), reject: (error) => got.push(error) };
}

describe('readInto', () => {
  it('gives what is there, what comes, the end and the fault, as read does', () => {
    const lab = new ChannelLab();
    lab.message(1);
    const readers = [reader(), reader(), reader()] as const;
    for (const each of readers) lab.channel.readInto(each);
    lab.message(2);
    lab.channel.peerGone(fault);
    lab.channel.readInto(readers[0]);
    expect(readers.map(({ got }) => got)).toEqual([[1, fault], [2], [fault]]);
    const ended = reader();
    const other = new ChannelLab();
    other.channel.readInto(ended);
    other.receive(LifeCycle.End);
    other.channel.readInto(ended);
    expect(ended.got).toEqual([undefined, undefined]);
  });

  it('gives its place away: the next reader gets the message', async () => {
    const lab = new ChannelLab();
    const gone = reader();
    const leave = lab.channel.readInto(gone);
    const read = lab.channel.read();
    leave();
    leave();
    lab.message(1);
    lab.channel.close();
    expect([gone.got, (await read)?.body]).toEqual([[], 1]);
  });

  it('does nothing where the message has come', () => {
    const lab = new ChannelLab();
    const [first, second] = [reader(), reader()];
    const leave = lab.channel.readInto(first);
    lab.message(1);
    lab.channel.readInto(second);
    leave();
    lab.message(2);
    expect([first.got, second.got]).toEqual([[1], [2]]);
  });
});

describe('poll', () => {
  it('gives what is there, and never waits', () => {
    const lab = new ChannelLab({ receiveWindow: 10_000 });
    expect(lab.channel.poll()).toBeUndefined();
    for (let i = 0; i < 5000; i++) lab.receive(LifeCycle.Msg, `${i}`);
    expect(drain(lab)).toEqual(Array.from({ length: 5000 }, (_, i) => `${i}`));
    lab.channel.close();
    expect(lab.channel.poll()).toBeUndefined();
  });
});

function uncredited(receiveWindow = 1000): ChannelLab {
  return new ChannelLab({ sendWindow: undefined, receiveWindow });
}

describe('without credits, the reading of the connection', () => {
  it('stops with the 128th message that waits, and goes on when half of them were read', () => {
    const lab = uncredited();
    for (let i = 0; i < 127; i++) lab.message('m');
    expect(lab.host.pauses).toBe(0);
    lab.message('m');
    expect(lab.host.pauses).toBe(1);
    for (let i = 0; i < 63; i++) lab.channel.poll();
    expect(lab.host.pauses).toBe(1);
    lab.channel.poll();
    expect(lab.host.pauses).toBe(0);
  });

  it('goes on once if what waited in the connection ends the channel', () => {
    for (const end of [LifeCycle.End, LifeCycle.Drop]) {
      const lab = uncredited(10);
      lab.message(10);
      lab.host.onResume = () => void lab.receive(end);
      expect(drain(lab)).toEqual([10]);
      expect(lab.host.pauses).toBe(0);
    }
  });

  it('stops with as many bytes as the window has', () => {
    const lab = uncredited(1000);
    lab.message(999);
    expect(lab.host.pauses).toBe(0);
    lab.message(1);
    expect(lab.host.pauses).toBe(1);
    lab.channel.poll();
    expect(lab.host.pauses).toBe(0);
    lab.message(5000);
    expect(lab.host.pauses).toBe(1);
  });

  it('stops once, also for what was on its way already', () => {
    const lab = uncredited(10);
    for (let i = 0; i < 500; i++) lab.message(5);
    expect(lab.host.pausedTimes).toBe(1);
    expect(drain(lab)).toHaveLength(500);
    expect(lab.host.pauses).toBe(0);
  });

  it('does not stop for a reader that waits', async () => {
    const lab = uncredited(10);
    const read = lab.channel.read();
    lab.message(5000);
    expect((await read)?.body).toBe(5000);
    expect(lab.host.pausedTimes).toBe(0);
  });

  it('stops and goes on as often as need be', () => {
    const lab = uncredited(10);
    for (let i = 0; i < 50; i++) {
      lab.message(10);
      expect(lab.host.pauses).toBe(1);
      drain(lab);
      expect(lab.host.pauses).toBe(0);
    }
    expect(lab.host.pausedTimes).toBe(50);
  });

  it.each([
    ['close', (lab: ChannelLab) => lab.channel.close()],
    ['cancel', (lab: ChannelLab) => lab.channel.cancel(fault)],
    ['a violation', (lab: ChannelLab) => lab.channel.violated(fault)],
    ['the end of the peer', (lab: ChannelLab) => lab.channel.peerGone(undefined)],
    ['the end of the connection', (lab: ChannelLab) => lab.channel.peerGone(fault)],
    ['DROP', (lab: ChannelLab) => void lab.receive(LifeCycle.Drop)],
  ])('is not left stopped by %s', async (_, end) => {
    const lab = uncredited(10);
    lab.message(10);
    lab.message(10);
    end(lab);
    expect([lab.host.pausedTimes, lab.host.pauses]).toEqual([1, 0]);
    // what waits is still there, and reading it resumes nothing a second time
    drain(lab);
    await lab.channel.read().catch(() => {});
    expect(lab.host.pauses).toBe(0);
  });

  it('stays stopped while the peer has ended its side and its messages wait', async () => {
    const lab = uncredited(10);
    lab.message(10);
    lab.receive(LifeCycle.End);
    expect(drain(lab)).toEqual([10]);
    expect(lab.host.pauses).toBe(0);
    await lab.channel.end();
    expect(lab.channel.isClosed).toBe(true);
  });
});
