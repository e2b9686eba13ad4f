import type { Candidate } from '../../../lib/cluster/balancing/balancer.js';
import { P2c } from '../../../lib/cluster/balancing/p2c.js';
import type { LoadReport } from '../../../lib/rpc/connection/load-report.js';
import { CALL, equalServers, loadReport, Now, seeded, server, servers, shares, Workload } from './fleet.js';

function make(fleet: readonly Candidate[], seed = 1): { balancer: P2c; time: Now } {
  const time = new Now();
  const balancer = new P2c({ now: time.now, random: seeded(seed) });
  balancer.update(fleet);
  return { balancer, time };
}

/** Two servers with these reports: the share of the picks that go to the second. */
function shareOfSecond(
  reports: readonly [Partial<LoadReport>, Partial<LoadReport>],
  prepare: (fleet: readonly Candidate[], time: Now) => void = () => undefined,
): number {
  const fleet = equalServers(2);
  const { balancer, time } = make(fleet);
  time.ms = 100_000;
  fleet.forEach(({ traffic }, i) => traffic.reported(loadReport(reports[i]!), time.ms));
  prepare(fleet, time);
  return shares(balancer, fleet, 500)[1]!;
}

function answer(on: Candidate, now: number, latency: number): void {
  on.traffic.begin(now - latency);
  on.traffic.end(now, now - latency, 'answered');
}

const firstIsSlow = ([first, second]: readonly Candidate[], time: Now): void => {
  answer(first!, time.ms, 50);
  answer(second!, time.ms, 5);
};

/** Two of five servers that all took 10 ms: the share of the picks among the two that go to the second. */
function shareOfStalled(prepare: (first: Candidate, second: Candidate, now: number) => void): number {
  const fleet = equalServers(5);
  const [first, second, ...others] = fleet as [Candidate, Candidate, ...Candidate[]];
  const { balancer, time } = make(fleet);
  time.ms = 100_000;
  for (const each of fleet) answer(each, time.ms - 50_000, 10);
  for (const { traffic } of fleet) traffic.reported(loadReport({ inFlight: 1, latencyMs: 10 }), time.ms - 1);
  for (const each of others) answer(each, time.ms, 10);
  prepare(first, second, time.ms);
  return shares(balancer, fleet, 500, undefined, new Set(others))[1]!;
}

describe('of two servers that are stalled', () => {
  it('takes the live one, although it has more calls in flight and had a slow one', () => {
    const share = shareOfStalled((frozen, live, now) => {
      frozen.traffic.begin(now - 1_000);
      answer(live, now - 17, 310);
      for (let i = 0; i < 7; i += 1) live.traffic.begin(now - 17);
    });
    expect(share).toBe(1);
  });

  it('takes the one that was frozen, and not the one that is', () => {
    const share = shareOfStalled((frozen, thawed, now) => {
      frozen.traffic.begin(now - 200);
      answer(thawed, now - 4_000, 8_000);
    });
    expect(share).toBe(1);
  });

  it('takes one that has had no answer for some time, and not one whose first slow answer is newer than its report', () => {
    const share = shareOfStalled((slow, silent, now) => {
      answer(slow, now, 2_000);
      silent.traffic.begin(now - 150);
    });
    expect(share).toBe(1);
  });
});

describe('without reports', () => {
  it('gives a slow server of 11 hardly a call', () => {
    const fleet = equalServers(11);
    const { balancer, time } = make(fleet);
    const load = new Workload(balancer, time, (on) => (on === fleet[3] ? 2_000 : 10));
    load.run(30_000, 2);
    expect(load.picks.get(fleet[3]!)).toBeLessThanOrEqual(2);
  });

  it('finds it again when it has become fast', () => {
    const fleet = equalServers(11);
    const { balancer, time } = make(fleet);
    const random = seeded(5);
    let slow = 2_000;
    const load = new Workload(balancer, time, (on) => (on === fleet[3] ? slow : 5 + 10 * random()));
    load.run(10_000, 5);
    slow = 10;
    load.run(90_000, 5);
    load.picks.clear();
    load.run(20_000, 5);
    expect(load.picks.get(fleet[3]!)! / 4_000).toBeGreaterThan(0.06);
  });

  it('gives a server that fails at once hardly a call', () => {
    const fleet = equalServers(5);
    const { balancer, time } = make(fleet);
    const load = new Workload(
      balancer,
      time,
      (on) => (on === fleet[0] ? 0.1 : 10),
      (on) => on === fleet[0],
    );
    load.run(30_000, 2);
    expect(load.picks.get(fleet[0]!)).toBeLessThanOrEqual(15); // of 15,000
  });

  it('does not let a server that fails one call of a thousand starve', () => {
    const fleet = equalServers(5);
    const { balancer, time } = make(fleet);
    const random = seeded(9);
    const load = new Workload(
      balancer,
      time,
      () => 5 + 10 * random(),
      (on) => on === fleet[0] && random() < 0.001,
    );
    load.run(60_000, 3);
    expect(load.picks.get(fleet[0]!)! / 20_000).toBeGreaterThan(0.05);
  });

  it('gives servers of double speed more calls, as many as keeps all busy', () => {
    const fleet = equalServers(10);
    const { balancer, time } = make(fleet);
    const isFast = (on: Candidate): boolean => fleet.indexOf(on) < 5;
    const load = new Workload(balancer, time, (on) => (isFast(on) ? 50 : 100));
    load.run(20_000, 1);
    const fast = fleet.slice(0, 5).reduce((sum, on) => sum + load.picks.get(on)!, 0);
    expect(fast / 20_000).toBeGreaterThan(0.6);
    expect(fast / 20_000).toBeLessThan(0.85);
  });

  it('keeps the calls in flight of equal servers close to each other', () => {
    const fleet = equalServers(100);
    const { balancer } = make(fleet);
    for (let i = 0; i < 5_000; i += 1) balancer.pick(CALL)!.traffic.begin(0);
    const inFlight = fleet.map(({ traffic }) => traffic.inFlight);
    expect(Math.max(...inFlight)).toBeLessThanOrEqual(54); // random ones have some 70
    expect(Math.min(...inFlight)).toBeGreaterThanOrEqual(44);
  });

  it('keeps them in proportion to the weights, also of one much heavier than two picks of all', () => {
    const fleet = servers([50, ...Array.from({ length: 50 }, () => 1)]);
    const { balancer } = make(fleet);
    for (let i = 0; i < 5_000; i += 1) balancer.pick(CALL)!.traffic.begin(0);
    expect(fleet[0]!.traffic.inFlight / 2_500).toBeCloseTo(1, 1);
  });

  it('bears calls that take no time', () => {
    const fleet = equalServers(4);
    const { balancer } = make(fleet);
    fleet.forEach((on) => answer(on, 0, 0));
    for (let i = 0; i < 400; i += 1) balancer.pick(CALL)!.traffic.begin(0);
    for (const { traffic } of fleet) expect(traffic.inFlight).toBeGreaterThan(90);
  });

  it('bears a clock that goes back', () => {
    const fleet = equalServers(3);
    const { balancer, time } = make(fleet);
    time.ms = 1e6;
    balancer.pick(CALL);
    time.ms = 0;
    expect(fleet).toContain(balancer.pick(CALL));
  });
});

describe('a server without history', () => {
  it('is as fast as the median of the others', () => {
    const fleet = equalServers(4);
    const { balancer, time } = make(fleet);
    time.ms = 20_000;
    [5, 50, 500].forEach((latency, i) => answer(fleet[i]!, time.ms, latency));
    const found = shares(balancer, fleet, 4_000);
    // the new one loses against the fast one, ties with the median, wins against the slow one
    [0.5, 0.25, 0, 0.25].forEach((share, i) => expect(Math.abs(found[i]! - share)).toBeLessThan(0.03));
  });

  it('does not draw all calls in the moment after the first answer', () => {
    const fleet = equalServers(10);
    const { balancer, time } = make(fleet);
    balancer.pick(CALL);
    time.ms = 10;
    for (const on of fleet.slice(1)) answer(on, time.ms, 10);
    time.ms = 11;
    for (let i = 0; i < 100; i += 1) balancer.pick(CALL)!.traffic.begin(time.ms);
    expect(fleet[0]!.traffic.inFlight).toBeLessThanOrEqual(13);
  });

  it('gets more and more calls for 10 s after it has joined', () => {
    const old = equalServers(9);
    const { balancer, time } = make(old);
    time.ms = 60_000;
    const fresh = server(100);
    const fleet = [...old, fresh];
    balancer.update(fleet);
    expect(fresh.traffic.joinedAt).toBe(60_000);
    const found = [0, 2_500, 5_000, 7_500, 10_000].map((age) => {
      time.ms = 60_000 + age;
      return shares(balancer, fleet, 10_000)[9]!;
    });
    [0, 0.025, 0.05, 0.075, 0.1].forEach((share, i) =>
      expect(Math.abs(found[i]! - share)).toBeLessThan(0.012),
    );
  });

  it('has its full share at once if all are new, and if it is the only one', () => {
    const fleet = equalServers(10);
    const { balancer, time } = make(fleet);
    time.ms = 1;
    balancer.update([...fleet, server(99)]);
    for (const share of shares(balancer, fleet, 10_000)) expect(share).toBeGreaterThan(0.07);
    time.ms = 60_000;
    const only = server(100);
    balancer.update([only]);
    expect(balancer.pick(CALL)).toBe(only);
  });

  it('ramps up again when its owner says that another process has taken its address', () => {
    const fleet = equalServers(2);
    const { balancer, time } = make(fleet);
    time.ms = 60_000;
    fleet[1]!.traffic.joined(60_000);
    balancer.update(fleet);
    expect(shares(balancer, fleet, 100)).toEqual([1, 0]);
  });
});

function equalLatency(fleet: readonly Candidate[], time: Now): void {
  for (const on of fleet) answer(on, time.ms, 10);
}

describe('with fresh reports', () => {
  it('picks the lower latency of two cold servers', () => {
    expect(
      shareOfSecond([
        { inFlight: 5, latencyMs: 10 },
        { inFlight: 5, latencyMs: 9 },
      ]),
    ).toBe(1);
  });

  it('picks the one with fewer in flight more often, not always, if calls are short beside the age of the reports', () => {
    const share = shareOfSecond(
      [
        { inFlight: 6, latencyMs: 5 },
        { inFlight: 5, latencyMs: 5 },
      ],
      (_fleet, time) => (time.ms += 250),
    );
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(0.9);
  });

  it('then goes by the reports of some seconds, not by the last one alone', () => {
    const share = shareOfSecond(
      [
        { inFlight: 4, latencyMs: 5 },
        { inFlight: 4, latencyMs: 5 },
      ],
      ([first, second], time) => {
        for (const inFlight of [9, 9, 9, 4]) {
          time.ms += 250;
          first!.traffic.reported(loadReport({ inFlight, latencyMs: 5 }), time.ms);
          second!.traffic.reported(loadReport({ inFlight: 4, latencyMs: 5 }), time.ms);
        }
        time.ms += 250;
      },
    );
    expect(share).toBeGreaterThan(0.6);
    expect(share).toBeLessThan(0.95);
  });

  it('picks a cold server before a hot one, even if that is faster', () => {
    const fleet = equalServers(11);
    const { balancer, time } = make(fleet);
    time.ms = 100_000;
    const hot = loadReport({ inFlight: 50, latencyMs: 1 });
    const cold = loadReport({ inFlight: 5, latencyMs: 2.9 });
    fleet.forEach(({ traffic }, i) => traffic.reported(i === 0 ? hot : cold, time.ms));
    expect(shares(balancer, fleet, 500)[0]).toBe(0);
  });

  it('does not call one of three hot because it has one call more', () => {
    const fleet = equalServers(3);
    const { balancer, time } = make(fleet);
    time.ms = 100_000;
    const inFlight = [1, 2, 3];
    fleet.forEach(({ traffic }, i) =>
      traffic.reported(loadReport({ inFlight: inFlight[i]!, latencyMs: [15, 15, 5][i]! }), time.ms),
    );
    // the third is expected to answer in 20 ms, the others in 30 and 45
    expect(shares(balancer, fleet, 600)[2]).toBeCloseTo(2 / 3, 1);
  });

  it('picks a server that reports many times the usual latency last, however few calls it has', () => {
    const fleet = equalServers(3);
    const { balancer, time } = make(fleet);
    time.ms = 100_000;
    const reports = [
      loadReport({ inFlight: 0, latencyMs: 50 }),
      loadReport({ inFlight: 40, latencyMs: 5 }),
      loadReport({ inFlight: 60, latencyMs: 5 }),
    ];
    fleet.forEach(({ traffic }, i) => traffic.reported(reports[i]!, time.ms));
    expect(shares(balancer, fleet, 600)[0]).toBe(0);
  });

  it.each([
    [14, 0],
    [16, 1],
  ])(
    'picks a server last if its four calls should have ended: after %i ms, if calls take 10',
    (waitMs, share) => {
      const reports = [
        { inFlight: 4, latencyMs: 10 },
        { inFlight: 30, latencyMs: 10 },
      ] as const;
      const found = shareOfSecond(reports, ([first, second], time) => {
        for (const each of [first!, second!]) answer(each, time.ms, 10);
        for (let i = 0; i < 4; i += 1) first!.traffic.begin(time.ms);
        time.ms += waitMs;
      });
      expect(Math.round(found)).toBe(share);
    },
  );

  it('picks fewer in flight of two hot servers', () => {
    const fleet = equalServers(2);
    const { balancer, time } = make(fleet);
    time.ms = 100_000;
    fleet.forEach(({ traffic }) => traffic.reported(loadReport({ inFlight: 1, latencyMs: 1 }), time.ms));
    balancer.pick(CALL); // what is hot is known for 100 ms
    fleet[0]!.traffic.reported(loadReport({ inFlight: 90, latencyMs: 1 }), time.ms);
    fleet[1]!.traffic.reported(loadReport({ inFlight: 80, latencyMs: 2.9 }), time.ms);
    expect(shares(balancer, fleet, 200)[1]).toBe(1);
  });

  it('adds what it has sent since the report', () => {
    const fleet = equalServers(20);
    const { balancer, time } = make(fleet);
    time.ms = 100_000;
    fleet.forEach(({ traffic }, i) => traffic.reported(loadReport({ inFlight: 10, latencyMs: i }), time.ms));
    for (let i = 0; i < 200; i += 1) balancer.pick(CALL)!.traffic.begin(time.ms);
    // the first is the fastest of all, and yet is not flooded until its next report
    expect(Math.max(...fleet.map(({ traffic }) => traffic.inFlight))).toBeLessThan(40);
  });

  it('does not believe the report of one that fails: it has few calls because it fails', () => {
    expect(
      shareOfSecond(
        [
          { inFlight: 0, latencyMs: 0.1 },
          { inFlight: 20, latencyMs: 20 },
        ],
        ([first, second], time) => {
          answer(first!, time.ms, 10);
          answer(second!, time.ms, 10);
          first!.traffic.begin(time.ms);
          first!.traffic.end(time.ms, time.ms, 'failed');
        },
      ),
    ).toBe(1);
  });

  it('picks a hot server before one that refuses many', () => {
    expect(
      shareOfSecond([
        { inFlight: 0, latencyMs: 1, refused: 0.5 },
        { inFlight: 20, latencyMs: 20, refused: 0 },
      ]),
    ).toBe(1);
  });

  it('goes by own latency and calls in flight if one is older than 5 s', () => {
    const reports = [
      { inFlight: 0, latencyMs: 1 },
      { inFlight: 90, latencyMs: 90 },
    ] as const;
    const slowFirst = ([first, second]: readonly Candidate[], time: Now): void => {
      time.ms += 5_000;
      second!.traffic.reported(loadReport(reports[1]), time.ms);
      answer(first!, time.ms, 50);
      answer(second!, time.ms, 20);
    };
    expect(shareOfSecond(reports, slowFirst)).toBe(0);
    expect(shareOfSecond(reports, (fleet, time) => (slowFirst(fleet, time), (time.ms += 1)))).toBe(1);
  });

  it('goes by own latency if only one has reported one', () => {
    expect(shareOfSecond([{ inFlight: 5, latencyMs: 1 }, { inFlight: 5 }], firstIsSlow)).toBe(1);
  });

  it.each([
    ['one client', 1, 5],
    ['busy others: within thrice the median of latencies', 40, 15],
  ])('gives no more calls to a server whose answers hang, whatever it reports: %s', (_whose, load, most) => {
    const fleet = equalServers(11);
    const { balancer, time } = make(fleet);
    const stuck = fleet[3]!;
    const work = new Workload(balancer, time, (on) => (on === stuck && time.ms >= 10_000 ? 2_000 : 20));
    const report = (): void => {
      if (time.ms % 250 > 0) return;
      for (const on of fleet) {
        const inFlight = on.traffic.inFlight + (on === stuck ? 0 : load);
        on.traffic.reported(loadReport({ inFlight, latencyMs: 20, refused: 0 }), time.ms);
      }
    };
    work.run(10_000, 1, report);
    work.picks.clear();
    work.run(15_000, 1, report);
    expect(work.picks.get(stuck) ?? 0).toBeLessThanOrEqual(most);
  });

  it('counts calls that it has sent since the report only until they are answered', () => {
    expect(
      shareOfSecond(
        [
          { inFlight: 5, latencyMs: 10 },
          { inFlight: 5, latencyMs: 9 },
        ],
        ([, second], time) => {
          for (let i = 0; i < 50; i += 1) answer(second!, time.ms, 0);
        },
      ),
    ).toBe(1);
  });

  it('survives reports that are no numbers', () => {
    const share = shareOfSecond([{ inFlight: Number.NaN, latencyMs: Number.NaN }, { mos: Number.NaN }]);
    expect(share).toBeGreaterThanOrEqual(0);
  });
});

describe('mos', () => {
  it('makes a server worse than it looks, for a minute', () => {
    expect(shareOfSecond([{ mos: 2 }, { mos: 4.5 }], equalLatency)).toBe(1);
    const later = shareOfSecond([{ mos: 2 }, { mos: 4.5 }], (fleet, time) => {
      time.ms += 60_001;
      equalLatency(fleet, time);
    });
    expect(later).toBeCloseTo(0.5, 1);
  });

  it('of 0 does not shut a server out: ten times as many in flight elsewhere are worse', () => {
    const share = shareOfSecond([{ mos: 0 }, { mos: 5 }], (fleet, time) => {
      equalLatency(fleet, time);
      for (let i = 0; i < 12; i += 1) fleet[1]!.traffic.begin(time.ms);
    });
    expect(share).toBe(0);
  });
});
