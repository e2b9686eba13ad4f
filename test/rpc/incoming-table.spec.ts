import type { Incoming } from '../../lib/rpc/incoming.js';
import { IncomingTable, type Load } from '../../lib/rpc/incoming-table.js';
import { DEFAULT_LIMITS, type RapLimits } from '../../lib/rpc/limits.js';
import { ChannelPair } from '../helpers/channel-pair.js';
import { FakeClock } from '../helpers/fake-clock.js';

const clock = new FakeClock();

function table(limits: Partial<RapLimits> = {}, load: Load = { running: 0 }): IncomingTable {
  return new IncomingTable({ ...DEFAULT_LIMITS, ...limits }, load, clock);
}

/** Calls and channels as they come in on a connection. */
class Arrivals {
  readonly pair = new ChannelPair({
    limits: { maxInFlight: 1e6, maxChannels: 1e6, maxInFlightTotal: 1e6 },
  }).open();

  call(): Incoming {
    this.pair.call();
    this.pair.flow();
    return this.pair.serverOwner.call();
  }

  channel(): Incoming {
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
  const load = { running: 40 };
  const [first, second] = [table({}, load), table({}, load)];
  const [call, channel, stranger] = [arrivals.call(), arrivals.channel(), arrivals.call()];
  first.add(call);
  second.add(channel);
  expect(load.running).toBe(42);
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
  const load = { running: 0 };
  const [first, second] = [table({ maxInFlightTotal: 1 }, load), table({ maxInFlightTotal: 1 }, load)];
  const [call, channel] = [arrivals.call(), arrivals.channel()];
  expect([first.add(call), second.add(channel)]).toEqual([true, false]);
  first.remove(call);
  second.remove(channel);
  expect(second.add(channel)).toBe(true);
});

it('was busy where something came in since the last question, or runs', () => {
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

/** Outcomes of so many, of which the first `wasted` were. Returns after how many it is too much. */
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
