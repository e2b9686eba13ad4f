import { Fault } from '../../../lib/protocol/fault.js';
import { LifeCycle } from '../../../lib/protocol/life-cycle.js';
import { Status } from '../../../lib/protocol/status.js';
import type { Channel } from '../../../lib/rpc/channel/channel.js';
import type { ChannelState } from '../../../lib/rpc/channel/channel-state.js';
import { ChannelLab } from '../../helpers/channel/fake-channel-host.js';
import { outcomeOf, settled } from '../../helpers/outcome.js';

const fault = new Fault({ status: 500, message: 'the server fell over' });

/** How a channel can end at once, and what is known of it then. */
interface Ending {
  readonly name: string;
  readonly run: (lab: ChannelLab) => void;
  /** What the peer is told: bodies of DROP with the status of its header. */
  readonly told: readonly (readonly [status: number | undefined, body: unknown])[];
  readonly fault: Fault | undefined;
  readonly byPeer: boolean;
}

const ENDINGS: readonly Ending[] = [
  {
    name: 'close',
    run: ({ channel }) => channel.close(),
    told: [[undefined, null]],
    fault: undefined,
    byPeer: false,
  },
  {
    name: 'close with a fault',
    run: ({ channel }) => channel.close(fault, 'ServerError'),
    told: [[500, 'the server fell over']],
    fault: undefined,
    byPeer: false,
  },
  {
    name: 'cancel',
    run: ({ channel }) => channel.cancel(fault),
    told: [[undefined, null]],
    fault,
    byPeer: false,
  },
  {
    name: 'violated',
    run: ({ channel }) => channel.violated(fault),
    told: [[500, 'the server fell over']],
    fault,
    byPeer: false,
  },
  {
    name: 'DROP',
    run: ({ receive }) => void receive(LifeCycle.Drop),
    told: [],
    fault: undefined,
    byPeer: true,
  },
  {
    name: 'peerGone',
    run: ({ channel }) => channel.peerGone(undefined),
    told: [],
    fault: undefined,
    byPeer: true,
  },
  {
    name: 'peerGone with a fault',
    run: ({ channel }) => channel.peerGone(fault),
    told: [],
    fault,
    byPeer: true,
  },
];

const ALIVE: readonly Exclude<ChannelState, 'closed'>[] = [
  'declaring',
  'endedEarly',
  'open',
  'ended',
  'peerEnded',
];

async function inState(state: ChannelState): Promise<ChannelLab> {
  const early = state === 'declaring' || state === 'endedEarly';
  const lab = new ChannelLab({ state: early ? 'declaring' : 'open' });
  if (state === 'endedEarly' || state === 'ended') await lab.channel.end();
  if (state === 'peerEnded') lab.receive(LifeCycle.End);
  expect(lab.channel.state).toBe(state);
  return lab;
}

const drops = ({ host }: ChannelLab): unknown[] =>
  host.sent
    .filter(([lifeCycle]) => lifeCycle === LifeCycle.Drop)
    .map(([, body, header]) => [header?.status_code, body]);

describe.each(ENDINGS)('$name', (ending) => {
  it.each(ALIVE)('ends the channel from state %s, and tells whoever must know once', async (state) => {
    const lab = await inState(state);
    const { channel, host } = lab;
    const closed: string[] = [];
    channel.whenClosed(() => closed.push('callback'));
    const { signal } = channel;
    ending.run(lab);
    expect(channel.state).toBe('closed');
    expect([channel.isClosed, channel.readable, channel.isDeclaring]).toEqual([true, false, false]);
    expect(channel.fault).toBe(ending.fault);
    expect(channel.closedByPeer).toBe(ending.byPeer);
    expect(host.releases).toEqual([ending.byPeer]);
    expect(drops(lab)).toEqual(ending.told);
    expect(closed).toEqual(['callback']);
    expect(signal.aborted).toBe(true);
    if (ending.fault) expect(signal.reason).toBe(ending.fault);
  });

  it.each(ENDINGS)('is not undone, nor done again, by $name after it', async (second) => {
    const lab = new ChannelLab();
    const { channel, host } = lab;
    let closed = 0;
    channel.whenClosed(() => closed++);
    const read = outcomeOf(channel.read());
    ending.run(lab);
    const after = host.sent.length;
    second.run(lab);
    await settled();
    expect([channel.fault, channel.closedByPeer, closed]).toEqual([ending.fault, ending.byPeer, 1]);
    expect(host.releases).toEqual([ending.byPeer]);
    expect(host.sent).toHaveLength(after);
    expect(read.state).toBe(ending.fault ? 'rejected' : 'resolved');
  });

  it('settles every read, write and end that waits, once', async () => {
    const lab = new ChannelLab();
    const { channel, host } = lab;
    host.room = false;
    const reads = [outcomeOf(channel.read()), outcomeOf(channel.read())];
    const writes = [outcomeOf(channel.write(1)), outcomeOf(channel.write(2)), outcomeOf(channel.end())];
    ending.run(lab);
    await settled();
    for (const read of reads) {
      if (ending.fault) expect(read.error).toBe(ending.fault);
      else expect([read.state, read.value]).toEqual(['resolved', undefined]);
    }
    for (const write of writes) {
      expect(write.error).toMatchObject(
        ending.fault ? { message: ending.fault.message } : { status: Status.ChannelLifeCycle },
      );
    }
    expect(host.bodies(LifeCycle.Msg)).toEqual([]);
  });

  it('sends nothing after it, whatever comes', async () => {
    const lab = new ChannelLab();
    const { channel, host, receive } = lab;
    ending.run(lab);
    const after = host.sent.length;
    for (const lifeCycle of Object.values(LifeCycle)) receive(lifeCycle, 1);
    channel.flushOne();
    const writes = [outcomeOf(channel.write(1)), outcomeOf(channel.end())];
    channel.poll();
    await settled();
    expect(writes.map(({ state }) => state)).toEqual(['rejected', 'rejected']);
    expect(() => channel.tryWrite(1)).toThrow(Fault);
    expect(host.sent).toHaveLength(after);
  });
});

describe('close with a fault', () => {
  it('gives the peer status, text, name and code, and nothing that is not theirs to know', () => {
    const lab = new ChannelLab();
    lab.channel.close(
      new Fault({
        status: 301,
        message: 'no such room',
        remoteName: 'ValueError',
        cause: new Error('secret'),
      }),
      'InvokeError',
    );
    expect(lab.host.sent).toEqual([
      [
        LifeCycle.Drop,
        ['ValueError', 'no such room'],
        { status_code: 301, error: { name: 'InvokeError', code: 'ERR_RAP_INVOKE' } },
      ],
    ]);
  });

  it('ends the channel also where the connection cannot carry the fault', async () => {
    for (const end of ['close', 'violated'] as const) {
      const lab = new ChannelLab();
      const { channel, host } = lab;
      const send = host.send.bind(host);
      host.send = (header, body) => {
        if ('status_code' in header) throw new Fault({ status: 1002, message: 'the header is too large' });
        return send(header, body);
      };
      const read = outcomeOf(channel.read());
      try {
        channel[end](fault);
      } catch {
        // where that shows is not asked here
      }
      await settled();
      expect([end, channel.isClosed, read.state !== 'pending', host.releases]).toEqual([
        end,
        true,
        true,
        [false],
      ]);
    }
  });
});

describe('a connection that ends while the channel sends its last frame', () => {
  const lost = new Fault({ status: 1006, message: 'the peer does not read' });
  const lasts: readonly [string, (lab: ChannelLab) => void][] = [
    ['close', ({ channel }) => channel.close()],
    ['close with a fault', ({ channel }) => channel.close(fault)],
    ['cancel', ({ channel }) => channel.cancel(fault)],
    ['violated', ({ channel }) => channel.violated(fault)],
    ['end', ({ channel }) => void channel.end().catch(() => {})],
    ['write', ({ channel }) => void channel.write(1).catch(() => {})],
    ['the credit for what was read', ({ channel }) => void channel.poll()],
  ];

  it.each(lasts)('ends it once: %s', async (_, last) => {
    for (const peerHasEnded of [false, true]) {
      const lab = new ChannelLab({ receiveWindow: 10 });
      const { channel, host } = lab;
      if (last === lasts.at(-1)?.[1]) lab.message(9);
      else if (peerHasEnded) lab.receive(LifeCycle.End);
      let closed = 0;
      channel.whenClosed(() => closed++);
      const { signal } = channel;
      host.send = () => {
        channel.peerGone(lost);
        return 1;
      };
      last(lab);
      await settled();
      expect([channel.state, closed, host.releases.length, signal.aborted]).toEqual(['closed', 1, 1, true]);
      expect(channel.fault).toBe(signal.reason);
    }
  });
});

describe('signal', () => {
  it('is the same at each look, and aborted where it is first asked for after the end', () => {
    const { channel } = new ChannelLab();
    const { signal } = channel;
    expect(channel.signal).toBe(signal);
    expect(signal.aborted).toBe(false);
    const other = new ChannelLab().channel;
    other.peerGone(fault);
    expect([other.signal.aborted, other.signal.reason]).toEqual([true, fault]);
    expect(other.signal).toBe(other.signal);
  });

  it('fires once', () => {
    const { channel } = new ChannelLab();
    let fired = 0;
    channel.signal.addEventListener('abort', () => fired++);
    channel.close();
    channel.cancel(fault);
    channel.peerGone(fault);
    expect(channel.signal.aborted).toBe(true);
    expect(fired).toBe(1);
  });

  it('is aborted by an end in order on both sides as well', async () => {
    const lab = new ChannelLab();
    const { signal } = lab.channel;
    await lab.channel.end();
    expect(signal.aborted).toBe(false);
    lab.receive(LifeCycle.End);
    expect(signal.aborted).toBe(true);
  });
});

describe('whenClosed', () => {
  it('calls back at once where it is closed, else once at the end, in order', () => {
    const { channel } = new ChannelLab();
    const calls: string[] = [];
    channel.whenClosed(() => calls.push('first'));
    channel.whenClosed(() => {
      calls.push('second');
      channel.whenClosed(() => calls.push('from within'));
    });
    channel.whenClosed(() => calls.push('third'));
    expect(calls).toEqual([]);
    channel.close();
    channel.close();
    expect(calls).toEqual(['first', 'second', 'from within', 'third']);
    channel.whenClosed(() => calls.push('late'));
    expect(calls.at(-1)).toBe('late');
  });

  it('sees the channel as it is at the end', () => {
    const lab = new ChannelLab();
    const seen: unknown[] = [];
    lab.channel.whenClosed(() =>
      seen.push(lab.channel.state, lab.channel.fault, lab.channel.closedByPeer, lab.host.releases.length),
    );
    lab.channel.peerGone(fault);
    expect(seen).toEqual(['closed', fault, true, 1]);
  });

  it('may close, read and write from within', async () => {
    const lab = new ChannelLab();
    const { channel } = lab;
    lab.message(1);
    const outcomes: ReturnType<typeof outcomeOf>[] = [];
    channel.whenClosed(() => {
      channel.close();
      channel.cancel(fault);
      outcomes.push(outcomeOf(channel.read()), outcomeOf(channel.read()), outcomeOf(channel.write(1)));
    });
    lab.receive(LifeCycle.Drop);
    await settled();
    expect(outcomes.map(({ state }) => state)).toEqual(['resolved', 'resolved', 'rejected']);
    expect(lab.host.sent).toEqual([]);
  });
});

describe('what the peer gets of a failed step', () => {
  const steps: readonly [string, (channel: Channel) => Promise<unknown>][] = [
    ['write after close', (channel) => channel.write(1)],
    ['end after close', (channel) => channel.end()],
  ];
  it.each(steps)('is nothing: %s', async (_, step) => {
    const { channel, host } = new ChannelLab();
    channel.close();
    await expect(step(channel)).rejects.toMatchObject({
      status: Status.ChannelLifeCycle,
      message: 'the channel is closed',
    });
    expect(host.sent).toEqual([[LifeCycle.Drop, null]]);
  });
});
