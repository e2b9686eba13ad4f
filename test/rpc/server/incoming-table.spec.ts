import type { IncomingCall } from '../../../lib/rpc/server/incoming-call.js';
import { Account } from '../../../lib/rpc/account.js';
import type { IncomingChannel } from '../../../lib/rpc/server/incoming-channel.js';
import { IncomingTable } from '../../../lib/rpc/server/incoming-table.js';
import { DEFAULT_LIMITS, type RapLimits, serverLoad } from '../../../lib/rpc/limits.js';
import { Load } from '../../../lib/rpc/load.js';
import { ChannelPair } from '../../helpers/channel/channel-pair.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const clock = new FakeClock();

function loadOf(limits: Partial<RapLimits> = {}): Load {
  return new Load(serverLoad({ ...DEFAULT_LIMITS, ...limits }));
}

function table(given: Partial<RapLimits> = {}, load = loadOf(given)): IncomingTable {
  const limits = { ...DEFAULT_LIMITS, ...given };
  return new IncomingTable(limits, load, new Account(limits.maxHeldBytes, load.account), clock);
}

/** Calls and channels as they come in on a connection. */
class Arrivals {
  readonly pair = new ChannelPair({
    limits: { maxInFlight: 1e6, maxChannels: 1e6, maxInFlightTotal: 1e6 },
  }).open();

  call(): IncomingCall {
    this.pair.call();
    this.pair.flow();
    return this.pair.serverOwner.call();
  }

  channel(): IncomingChannel {
    return this.pair.declare().incoming;
  }
}

let arrivals: Arrivals;
beforeEach(() => {
  arrivals = new Arrivals();
});
afterEach(() => arrivals.pair.end());

it('finds what runs by its id, until it is removed', () => {
  const incoming = table();
  const [call, channel] = [arrivals.call(), arrivals.channel()];
  expect([incoming.add(call), incoming.add(channel)]).toEqual([true, true]);
  expect([incoming.size, incoming.has(call.id), incoming.get(channel.id)]).toEqual([2, true, channel]);
  incoming.remove(call);
  expect([incoming.size, incoming.has(call.id), incoming.get(call.id)]).toEqual([1, false, undefined]);
  expect(incoming.get(12345)).toBeUndefined();
});

it('counts the load of the whole server, and each removal once', () => {
  const load = loadOf();
  load.calls = 40;
  const [first, second] = [table({}, load), table({}, load)];
  const [call, channel, stranger] = [arrivals.call(), arrivals.channel(), arrivals.call()];
  first.add(call);
  second.add(channel);
  second.takeSlot(channel);
  expect([load.calls, load.channels]).toEqual([41, 1]);
  first.remove(call);
  first.remove(call);
  first.remove(stranger);
  second.remove(call);
  expect(load.running).toBe(41);
  second.remove(channel);
  expect([load.running, first.size, second.size]).toEqual([40, 0, 0]);
});

it('refuses calls and channels by limits of their own; what is refused is there until it is removed', () => {
  const incoming = table({ maxInFlight: 2, maxChannels: 1 });
  const calls = [arrivals.call(), arrivals.call(), arrivals.call()] as const;
  const channels = [arrivals.channel(), arrivals.channel()] as const;
  expect([incoming.add(calls[0]), incoming.add(channels[0]), incoming.add(calls[1])]).toEqual([
    true,
    true,
    true,
  ]);
  expect([incoming.add(calls[2]), incoming.add(channels[1])]).toEqual([false, false]);
  expect([incoming.refused, incoming.size]).toEqual([2, 5]);
  incoming.remove(calls[2]);
  incoming.remove(channels[1]);
  incoming.remove(channels[0]);
  expect(incoming.add(channels[1])).toBe(true);
  expect(incoming.add(calls[2])).toBe(false);
});

it('refuses beyond the limit of the whole server', () => {
  const limits = { maxInFlightTotal: 1, maxChannelsTotal: 1 };
  const load = loadOf(limits);
  const [first, second] = [table(limits, load), table(limits, load)];
  const calls = [arrivals.call(), arrivals.call()] as const;
  const channels = [arrivals.channel(), arrivals.channel()] as const;
  expect([first.add(calls[0]), second.add(calls[1])]).toEqual([true, false]);
  for (const channel of channels) expect(second.add(channel)).toBe(true);
  expect(channels.map((channel) => second.takeSlot(channel))).toEqual([true, false]);
  first.remove(calls[0]);
  second.remove(calls[1]);
  for (const channel of channels) second.remove(channel);
  expect(load.running).toBe(0);
  expect([second.add(calls[1]), second.add(channels[1]), second.takeSlot(channels[1])]).toEqual([
    true,
    true,
    true,
  ]);
  second.remove(calls[1]);
  second.remove(channels[1]);
});

it('was busy if something came in since the last question, or runs', () => {
  const incoming = table();
  expect(incoming.wasBusy()).toBe(false);
  const call = arrivals.call();
  incoming.add(call);
  expect([incoming.wasBusy(), incoming.wasBusy()]).toEqual([true, true]);
  incoming.remove(call);
  expect(incoming.wasBusy()).toBe(false);
  incoming.add(call);
  incoming.remove(call);
  expect([incoming.wasBusy(), incoming.wasBusy()]).toEqual([true, false]);
});

/** Outcomes of this many, of which the first `wasted` were. Returns after how many it is too much. */
function judge(count: number, wasted: number, tookMs = 0): number | undefined {
  const incoming = table();
  for (let i = 0; i < count; i++) {
    if (!incoming.settled(clock.now() - tookMs, i < wasted)) return i + 1;
  }
  return undefined;
}

describe('settled', () => {
  beforeAll(() => clock.advance(10_000));

  it('judges nobody by fewer than 500', () => {
    expect([judge(499, 499), judge(500, 500)]).toEqual([undefined, 500]);
  });

  it('allows that half of them are given up', () => {
    expect([judge(500, 250), judge(500, 251)]).toEqual([undefined, 500]);
  });

  it('does not count what was given up after a second', () => {
    expect([judge(500, 500, 1000), judge(500, 500, 999)]).toEqual([undefined, 500]);
  });

  it('looks at each 500 anew', () => {
    const incoming = table();
    const outcomes = Array.from({ length: 3000 }, (_, i) =>
      incoming.settled(clock.now(), i < 250 || (i >= 1000 && i < 1250) || i >= 2500),
    );
    expect(outcomes.indexOf(false)).toBe(2999);
  });

  it('forgets after ten seconds what was given up', () => {
    const incoming = table();
    for (let i = 0; i < 100; i++) {
      for (let call = 0; call < 256; call++) expect(incoming.settled(clock.now(), true)).toBe(true);
      clock.advance(10_000);
    }
  });

  it('does not forget within ten seconds', () => {
    const incoming = table();
    const outcomes = Array.from({ length: 12 }, () => {
      clock.advance(2_500);
      return Array.from({ length: 256 }, () => incoming.settled(clock.now(), true)).includes(false);
    });
    expect(outcomes).toContain(true);
  });
});

describe('a function that is spared', () => {
  const asked: string[] = [];
  beforeEach(() => void asked.splice(0));

  const spares = (target: string): boolean => asked.push(target) > 0;

  function sparing(given: Partial<RapLimits>): IncomingTable {
    const limits = { ...DEFAULT_LIMITS, ...given };
    const load = loadOf(given);
    const account = new Account(limits.maxHeldBytes, load.account);
    return new IncomingTable(limits, load, account, clock, undefined, spares);
  }

  it('runs beyond the limits, four at once, and is asked about only then', () => {
    const incoming = sparing({ maxInFlight: 1 });
    expect(incoming.add(arrivals.call())).toBe(true);
    expect(asked).toEqual([]);

    const spared = Array.from({ length: 4 }, () => arrivals.call());
    expect(spared.map((call) => incoming.add(call))).toEqual([true, true, true, true]);
    const more = arrivals.call();
    expect(incoming.add(more)).toBe(false);
    expect(incoming.refused).toBe(1);
    expect(asked).toHaveLength(5);

    incoming.remove(more);
    incoming.remove(spared[0] as IncomingCall);
    expect(incoming.add(arrivals.call())).toBe(true);
    expect(incoming.refused).toBe(1);
  });

  it('gets a slot of a server that has none', () => {
    const incoming = sparing({ maxChannelsTotal: 0 });
    const channel = arrivals.channel();
    expect([incoming.add(channel), incoming.takeSlot(channel)]).toEqual([true, true]);
    incoming.remove(channel);
    expect(incoming.size).toBe(0);
  });

  it('is refused if the memory for the peer is used up', () => {
    const incoming = sparing({ maxInFlight: 0, maxHeldBytes: 100 });
    const call = arrivals.call();
    const { cost } = call;
    call.cost = 1000;
    expect(incoming.add(call)).toBe(false);
    call.cost = cost;
  });
});
