import { Ejector } from '../../../lib/cluster/failures/ejection.js';
import { DEFAULT_EJECT, type EjectOptions } from '../../../lib/cluster/failures/failure-options.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { connectionLost } from '../../../lib/rpc/connection/connection-lost.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { seededRandom } from '../../helpers/seeded-random.js';

interface Server {
  readonly name: string;
}

let clock: FakeClock;
let servers: Server[];
/** What the ejector has said. */
let told: string[];

beforeEach(() => {
  clock = new FakeClock();
  told = [];
});

function fleet(size: number, options: Partial<EjectOptions> = {}, random = () => 0): Ejector<Server> {
  const it = new Ejector<Server>({
    now: () => clock.now(),
    random,
    options: { ...DEFAULT_EJECT, ...options },
    onEject: ({ name }, reason, until) => told.push(`${name} until ${until}: ${reason}`),
    onReturn: ({ name }) => told.push(`${name} back`),
  });
  servers = Array.from({ length: size }, (_, i) => ({ name: `s${i}` }));
  for (const server of servers) it.add(server);
  return it;
}

const server = (i: number) => servers[i] as Server;

function fail(it: Ejector<Server>, i: number, times = 5): void {
  for (let n = 0; n < times; n++) it.record(server(i), 'failed');
}

function take(): string[] {
  return told.splice(0);
}

describe('failures in a row', () => {
  it('eject at the fifth, not before', () => {
    const it = fleet(4);
    fail(it, 1, 4);
    expect([it.isEjected(server(1)), take()]).toEqual([false, []]);
    fail(it, 1, 1);
    expect([it.isEjected(server(1)), it.ejected, it.ejectedUntil(server(1))]).toEqual([true, 1, 1000]);
    expect(take()).toEqual(['s1 until 1000: 5 failures in a row']);
    expect(it.reasonOf(server(1))).toBe('5 failures in a row');
    expect([it.reasonOf(server(0)), it.ejectedUntil(server(0))]).toEqual([undefined, undefined]);
  });

  it('are ended by an answer; what says nothing does not end them', () => {
    const it = fleet(4);
    for (let i = 0; i < 20; i++) {
      fail(it, 0, 4);
      it.record(server(0), 'answered');
    }
    expect(take()).toEqual([]);
    for (let i = 0; i < 5; i++) {
      for (let n = 0; n < 50; n++) it.record(server(0), n % 2 ? 'ignored' : 'refused');
      expect(it.isEjected(server(0))).toBe(false);
      fail(it, 0, 1);
    }
    expect(it.isEjected(server(0))).toBe(true);
  });

  it('are not those of which the server itself has told: a service that fails everywhere loses no servers', () => {
    const it = fleet(4);
    const error = new Fault({ status: 500, message: 'the database is down' });
    for (let i = 0; i < 400; i++) expect(it.recordFault(server(i % 4), error)).toBe('failed');
    expect(take()).toEqual([]);
    for (let i = 0; i < 5; i++) it.recordFault(server(2), connectionLost('lost'));
    expect(take()).toEqual(['s2 until 1000: 5 failures in a row']);
  });

  it('that are judged as nothing never eject', () => {
    const it = fleet(4);
    for (let i = 0; i < 50; i++)
      expect(it.recordFault(server(0), connectionLost('lost', undefined, 'no'))).toBe('ignored');
    expect(take()).toEqual([]);
  });
});

describe('the most that are ejected', () => {
  it.each([
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
    [100, 50],
  ])('of %i is %i, when all fail', (size, most) => {
    const it = fleet(size);
    for (let round = 0; round < 3; round++) for (let i = 0; i < size; i++) fail(it, i);
    expect(it.ejected).toBe(most);
    expect(servers.filter((each) => it.isEjected(each))).toHaveLength(most);
  });

  it('leaves one, though all may be ejected', () => {
    const it = fleet(3, { maxRatio: 1 });
    for (let i = 0; i < 3; i++) fail(it, i);
    expect(it.ejected).toBe(2);
  });

  it('may be none', () => {
    const it = fleet(3, { maxRatio: 0 });
    for (let i = 0; i < 3; i++) fail(it, i);
    expect(it.ejected).toBe(0);
  });

  it('holds when others leave: those whose ejection ends first return', () => {
    const it = fleet(4);
    fail(it, 0);
    clock.advance(100);
    fail(it, 1);
    take();
    it.remove(server(2));
    expect(take()).toEqual(['s0 back']);
    it.remove(server(3));
    expect([it.ejected, it.isEjected(server(1))]).toEqual([1, true]);
    it.remove(server(0));
    expect(take()).toEqual(['s1 back']);
    it.remove(server(1));
    expect([it.ejected, take()]).toEqual([0, []]);
  });

  it('ejects the next that still fails when one returns', () => {
    const it = fleet(2);
    fail(it, 0);
    fail(it, 1);
    expect([it.isEjected(server(0)), it.isEjected(server(1))]).toEqual([true, false]);
    clock.advance(1000);
    it.probe(server(0));
    it.probed(server(0), 'answered');
    take();
    fail(it, 1, 1);
    expect(take()).toEqual(['s1 until 2000: 6 failures in a row']);
  });
});

describe('a probe', () => {
  it('goes out when the time is over, one at a time', () => {
    const it = fleet(2);
    expect([it.mayProbe(server(0)), it.probe(server(0))]).toEqual([false, false]);
    fail(it, 0);
    clock.advance(999.9);
    expect(it.probe(server(0))).toBe(false);
    clock.advance(0.1);
    expect([it.mayProbe(server(0)), it.isEjected(server(0))]).toEqual([true, true]);
    expect([it.probe(server(0)), it.mayProbe(server(0)), it.probe(server(0))]).toEqual([true, false, false]);
  });

  it.each(['answered', 'refused'] as const)('that is %s returns the server, clean', (verdict) => {
    const it = fleet(2);
    fail(it, 0);
    clock.advance(1000);
    it.probe(server(0));
    it.probed(server(0), verdict);
    expect([it.isEjected(server(0)), it.mayProbe(server(0)), it.ejected]).toEqual([false, false, 0]);
    expect(take().at(-1)).toBe('s0 back');
    clock.advance(1);
    fail(it, 0, 4);
    expect(it.isEjected(server(0))).toBe(false);
  });

  it('that fails ejects for twice the time, up to a minute', () => {
    const it = fleet(2);
    fail(it, 0);
    const times: number[] = [];
    for (let i = 0; i < 9; i++) {
      const left = (it.ejectedUntil(server(0)) as number) - clock.now();
      times.push(left);
      clock.advance(left);
      expect(it.probe(server(0))).toBe(true);
      it.probed(server(0), 'failed');
      expect([it.mayProbe(server(0)), it.ejected]).toEqual([false, 1]);
    }
    expect(times).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60].map((s) => s * 1000));
    expect(it.reasonOf(server(0))).toBe('5 failures in a row');
    expect(take().at(-1)).toMatch(/: the probe failed; before: 5 failures in a row$/);
  });

  it('that says nothing lets another one go', () => {
    const it = fleet(2);
    fail(it, 0);
    clock.advance(1000);
    for (let i = 0; i < 100; i++) {
      expect(it.probe(server(0))).toBe(true);
      it.probed(server(0), 'ignored');
    }
    expect(take()).toHaveLength(1);
  });

  it('that never ends does not keep the server out for ever', () => {
    const it = fleet(2);
    fail(it, 0);
    clock.advance(1000);
    it.probe(server(0));
    clock.advance(9_999);
    expect(it.mayProbe(server(0))).toBe(false);
    clock.advance(1);
    expect(it.probe(server(0))).toBe(true);
    it.probed(server(0), 'answered');
    // the first one ends at last
    it.probed(server(0), 'failed');
    expect([it.isEjected(server(0)), take().at(-1)]).toEqual([false, 's0 back']);
  });

  it('is not told from its outcome twice', () => {
    const it = fleet(2);
    fail(it, 0);
    clock.advance(1000);
    it.probe(server(0));
    it.probed(server(0), 'failed');
    const until = it.ejectedUntil(server(0));
    it.probed(server(0), 'failed');
    it.probed(server(0), 'answered');
    expect([it.ejectedUntil(server(0)), it.isEjected(server(0))]).toEqual([until, true]);
  });
});

describe('late ends of calls', () => {
  it('from before the ejection neither return a server nor eject it for longer', () => {
    const it = fleet(2);
    fail(it, 0);
    it.record(server(0), 'answered', 0);
    fail(it, 0, 100);
    clock.advance(1000);
    it.probe(server(0));
    fail(it, 0, 100);
    it.record(server(0), 'answered', 0);
    expect([it.isEjected(server(0)), it.ejectedUntil(server(0))]).toEqual([true, 1000]);
    expect(take()).toHaveLength(1);
    it.probed(server(0), 'answered');
    expect(it.isEjected(server(0))).toBe(false);
  });

  it('from before the return do not eject it again: they time out while it is well', () => {
    const it = fleet(2);
    fail(it, 0);
    clock.advance(1000);
    it.probe(server(0));
    clock.advance(5);
    it.probed(server(0), 'answered');
    take();
    clock.advance(3000);
    for (let i = 0; i < 100; i++) it.record(server(0), 'failed', 500);
    expect(take()).toEqual([]);
    for (let i = 0; i < 5; i++) it.record(server(0), 'failed', 1005);
    expect(take()).toHaveLength(1);
  });
});

/** Ejects the first server and returns it by a probe; the time of the ejection. */
function bounce(it: Ejector<Server>): number {
  fail(it, 0);
  const ms = (it.ejectedUntil(server(0)) as number) - clock.now();
  clock.advance(ms);
  it.probe(server(0));
  it.probed(server(0), 'answered');
  return ms;
}

describe('what is remembered', () => {
  it('a server that fails again soon is ejected for longer, and a step less after each 10 s that it stays', () => {
    const it = fleet(2);
    expect([bounce(it), bounce(it), bounce(it), bounce(it)]).toEqual([1000, 2000, 4000, 8000]);
    clock.advance(9_999);
    expect(bounce(it)).toBe(16_000);
    clock.advance(30_000);
    expect(bounce(it)).toBe(4_000);
    clock.advance(3_600_000);
    expect(bounce(it)).toBe(1_000);
  });

  it('time spent ejected forgives nothing', () => {
    const it = fleet(2, { forgiveMs: 1000 });
    bounce(it);
    bounce(it);
    fail(it, 0);
    clock.advance(3_600_000);
    it.probe(server(0));
    it.probed(server(0), 'failed');
    expect((it.ejectedUntil(server(0)) as number) - clock.now()).toBe(8000);
  });

  it('the level has a top: a server that flaps for a day is forgiven in the time of the longest ejection', () => {
    const it = fleet(2);
    for (let i = 0; i < 100; i++) bounce(it);
    clock.advance(70_000);
    expect(bounce(it)).toBe(1000);
  });

  it('nothing of a server that was removed: one that comes back under its address starts clean', () => {
    const it = fleet(4);
    bounce(it);
    bounce(it);
    fail(it, 0);
    it.remove(server(0));
    it.remove(server(0));
    expect([it.ejected, it.isEjected(server(0)), it.reasonOf(server(0))]).toEqual([0, false, undefined]);
    fail(it, 0);
    it.probed(server(0), 'failed');
    it.add(server(0));
    fail(it, 0, 4);
    expect(it.isEjected(server(0))).toBe(false);
    expect(bounce(it)).toBe(1000);
  });

  it('a server that is listed twice counts once, and keeps what is known', () => {
    const it = fleet(2);
    fail(it, 0);
    it.add(server(0));
    expect([it.isEjected(server(0)), it.ejected]).toEqual([true, 1]);
    fail(it, 1);
    expect(it.ejected).toBe(1);
  });
});

it('the owner may remove a server, or end its probe, while it is told', () => {
  const all = Array.from({ length: 4 }, (_, i) => ({ name: `s${i}` }));
  const it: Ejector<Server> = new Ejector<Server>({
    now: () => clock.now(),
    random: () => 0,
    options: DEFAULT_EJECT,
    onEject: (each) => it.remove(each),
    onReturn: (each) => it.remove(each),
  });
  for (const each of all) it.add(each);
  for (const each of all) for (let n = 0; n < 5; n++) it.record(each, 'failed');
  expect([it.ejected, all.filter((each) => it.isEjected(each))]).toEqual([0, []]);
});

it('spreads the ends of ejections that begin together, by a quarter', () => {
  const random = seededRandom(7);
  const ends = Array.from({ length: 1000 }, () => {
    const it = fleet(2, {}, random);
    fail(it, 0);
    return it.ejectedUntil(server(0)) as number;
  });
  expect(Math.min(...ends)).toBeGreaterThanOrEqual(750);
  expect(Math.min(...ends)).toBeLessThan(760);
  expect(Math.max(...ends)).toBeGreaterThan(990);
  expect(Math.max(...ends)).toBeLessThanOrEqual(1000);
});

it('keeps its rules under anything', () => {
  const random = seededRandom(42);
  const pick = (count: number) => Math.floor(random() * count);
  const it = fleet(10, {}, random);
  const listed = new Set(servers);
  for (let step = 0; step < 50_000; step++) {
    const each = server(pick(10));
    const verdict = (['answered', 'failed', 'failed', 'refused', 'ignored'] as const)[pick(5)]!;
    const action = pick(100);
    if (action === 0) {
      it.remove(each);
      listed.delete(each);
    } else if (action < 3) {
      it.add(each);
      listed.add(each);
    } else if (action < 10) it.probe(each);
    else if (action < 20) it.probed(each, verdict);
    else if (action < 25) clock.advance(pick(2000));
    else it.record(each, verdict, clock.now() - pick(1000));
    const ejected = servers.filter((one) => it.isEjected(one));
    const keeps =
      ejected.length === it.ejected &&
      ejected.length <= Math.floor(listed.size / 2) &&
      ejected.every((one) => listed.has(one) && (it.ejectedUntil(one) as number) <= clock.now() + 60_000);
    if (!keeps) throw new Error(`step ${step}: ${ejected.length} of ${listed.size} are ejected`);
  }
  expect(take().filter((line) => line.endsWith('back')).length).toBeGreaterThan(100);
});
