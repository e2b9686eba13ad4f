import { KeepAlive, type KeepAliveTarget } from '../../../lib/rpc/connection/keep-alive.js';
import type { PingSink } from '../../../lib/rpc/connection/pings.js';
import { CLIENT_KEEP_ALIVE, type KeepAliveOptions } from '../../../lib/rpc/limits.js';
import { FakeClock } from '../../helpers/fake-clock.js';

/** A keep-alive of a client, whose peer and calls the test plays. */
class Scene {
  readonly clock = new FakeClock();
  readonly log: string[] = [];
  readonly pings: PingSink[] = [];
  calls = 0;
  channels = 0;
  isPaused = false;
  /** Round trip of the peer; it is silent by default. */
  tripMs = Infinity;
  readonly keepAlive: KeepAlive;

  constructor(options: Partial<KeepAliveOptions> = {}, makesCalls = true) {
    const note = (what: string): void => void this.log.push(`${what} ${this.clock.now() / 1000}`);
    const target: KeepAliveTarget = {
      ping: (sink) => {
        note('ping');
        if (this.tripMs < Infinity) this.clock.after(this.tripMs, () => this.answer(sink));
        else if (sink) this.pings.push(sink);
      },
      lost: () => {
        this.keepAlive.stop();
        note('lost');
      },
      idle: () => note('idle'),
      isBusy: () => this.calls + this.channels > 0,
      isReadingPaused: () => this.isPaused,
      hasCallsInFlight: () => this.calls > 0,
      hasChannels: () => this.channels > 0,
      makesCalls,
      suspected: (isSuspect) => note(isSuspect ? 'suspect' : 'trusted'),
      proven: () => note('proven'),
      notProven: () => note('not proven'),
    };
    this.keepAlive = new KeepAlive(target, { ...CLIENT_KEEP_ALIVE, ...options }, this.clock);
    this.keepAlive.start();
  }

  /** A call starts, and waits for its answer. */
  call(): void {
    this.keepAlive.used(this.clock.now());
    this.calls += 1;
  }

  /** The answer to the oldest unanswered ping. */
  answer(sink = this.pings.shift()): void {
    this.keepAlive.heard();
    sink?.resolve();
  }

  pass(ms: number): string[] {
    this.clock.advance(ms);
    return this.log;
  }
}

let scene: Scene;

afterEach(() => {
  scene.keepAlive.stop();
  scene.tripMs = Infinity;
  scene.clock.advance(60_000); // answers under way
  expect(scene.clock.pending).toBe(0);
});

describe('a client with calls in flight and a silent server', () => {
  it('pings after 1 s, suspects it 250 ms later, and gives up at 10 s', () => {
    scene = new Scene();
    scene.call();
    expect(scene.pass(60_000)).toEqual(['ping 1', 'suspect 1.25', 'lost 10']);
  });

  it.each([0, 1, 4_999, 5_000, 7_300, 14_000])(
    'counts from the first call, after %d ms without any',
    (ms) => {
      scene = new Scene();
      scene.pass(ms);
      scene.call();
      const at = (later: number): number => (ms + later) / 1000;
      scene.pass(5_000);
      // one that is silent for 15 s in all is asked by the other rule, too
      const first = Math.min(at(1_000), 15);
      expect(scene.log.slice(0, 2)).toEqual([`ping ${first}`, `suspect ${first + 0.25}`]);
      scene.pass(60_000);
      expect(scene.log.at(-1)).toBe(`lost ${Math.min(at(10_000), 20)}`);
    },
  );

  it('settles within 12 s, however many calls follow the first', () => {
    scene = new Scene();
    for (let i = 0; i < 120 && scene.log.at(-1)?.startsWith('lost') !== true; i++) {
      scene.call();
      scene.pass(100);
    }
    expect(scene.log.at(-1)).toBe('lost 10');
  });

  it('settles though each call is given up before a check sees it', () => {
    scene = new Scene();
    scene.pass(3_000);
    for (let i = 0; i < 400; i++) {
      scene.call();
      scene.pass(60);
      scene.calls = 0;
      scene.pass(20);
    }
    expect(scene.log.find((line) => line.startsWith('lost'))).toBe('lost 14'); // the first ping came at 4 s
  });

  it('counts silence from the last bytes', () => {
    scene = new Scene();
    scene.call();
    for (let i = 0; i < 100; i++) {
      scene.pass(990);
      scene.keepAlive.heard();
    }
    expect(scene.log).toEqual([]);
    expect(scene.pass(12_000)).toEqual(['ping 100', 'suspect 100.25', 'lost 109']);
  });

  it('waits for one that is slow and answers its pings, and does not suspect it', () => {
    scene = new Scene();
    scene.tripMs = 200;
    scene.call();
    scene.pass(600_000);
    expect(scene.log.length).toBeGreaterThan(400);
    expect(new Set(scene.log.map((line) => line.split(' ')[0]))).toEqual(new Set(['ping']));
  });

  it('trusts it again with the first bytes, whatever they are', () => {
    scene = new Scene();
    scene.call();
    scene.pass(3_000);
    scene.keepAlive.heard();
    expect(scene.log).toEqual(['ping 1', 'suspect 1.25', 'trusted 3']);
    scene.pass(1_250);
    expect(scene.log.slice(3)).toEqual(['ping 4', 'suspect 4.25']);
  });

  it('does not suspect it, nor give up, because of the silence before its calls', () => {
    scene = new Scene();
    scene.tripMs = 100;
    scene.pass(14_500);
    scene.call();
    scene.calls = 0;
    scene.keepAlive.heard();
    scene.pass(14_900);
    scene.call();
    scene.pass(90);
    expect(scene.log).toEqual([]);
  });
});

describe('the time for the answer', () => {
  it('is twice the longest round trip of this connection', () => {
    scene = new Scene();
    scene.tripMs = 400;
    scene.call();
    scene.pass(3_500); // suspected once: nothing was measured before
    scene.tripMs = 100;
    scene.pass(5_000);
    scene.log.length = 0;
    scene.tripMs = Infinity;
    scene.pass(5_000);
    const [ping, suspect] = scene.log.map((line) => Number(line.split(' ')[1]));
    expect((suspect as number) - (ping as number)).toBeCloseTo(0.8, 6);
  });

  it('is bounded: one answer that took 4 s does not blind the client', () => {
    scene = new Scene();
    scene.tripMs = 4_000;
    scene.call();
    scene.pass(5_500);
    scene.log.length = 0;
    scene.tripMs = Infinity;
    scene.pass(9_000);
    const [ping, suspect] = scene.log.map((line) => Number(line.split(' ')[1]));
    expect((suspect as number) - (ping as number)).toBeCloseTo(2.5, 6);
  });

  it('is not that of other bytes: they come without being asked for', () => {
    scene = new Scene();
    scene.call();
    scene.pass(1_001);
    scene.keepAlive.heard();
    scene.log.length = 0;
    expect(scene.pass(1_250)).toEqual(['ping 2.001', 'suspect 2.251']);
  });
});

describe('a client with nothing but channels', () => {
  it('pings five times less, and gives up at the same time', () => {
    scene = new Scene();
    scene.keepAlive.used(0);
    scene.channels = 1;
    expect(scene.pass(60_000)).toEqual(['ping 5', 'suspect 5.25', 'lost 10']);
  });

  it('keeps one that waits for hours', () => {
    scene = new Scene();
    scene.tripMs = 20;
    scene.keepAlive.used(0);
    scene.channels = 1;
    scene.pass(3_600_000);
    expect(scene.log.length).toBeLessThan(730);
    expect(scene.log.every((line) => line.startsWith('ping'))).toBe(true);
  });
});

describe('a client without calls', () => {
  it('pings after 15 s and gives up 5 s later, as before; it suspects the server meanwhile', () => {
    scene = new Scene();
    expect(scene.pass(60_000)).toEqual(['ping 15', 'suspect 15.25', 'lost 20']);
  });

  it('has one timer, however many calls come and go', () => {
    scene = new Scene();
    for (let i = 0; i < 5_000; i++) {
      scene.call();
      scene.keepAlive.heard();
      scene.calls = 0;
      expect(scene.clock.pending).toBe(1);
      scene.pass(3);
    }
    expect(scene.log).toEqual([]);
  });
});

it('a server neither suspects its client nor asks for proof, and has the one rule', () => {
  scene = new Scene({ busyIntervalMs: 1_000, busyTimeoutMs: 10_000 }, false);
  scene.call();
  expect(scene.pass(19_999)).toEqual(['ping 15']);
  scene.clock.freeze(600_000);
  scene.call();
  expect(scene.keepAlive.isUnproven).toBe(false);
});

describe('a process that stood still', () => {
  it('suspects nobody for that: the answer may be unread', () => {
    scene = new Scene();
    scene.call();
    scene.pass(1_000);
    scene.clock.stall(900);
    expect(scene.log).toEqual(['ping 1']);
    scene.answer();
    expect(scene.pass(900)).toEqual(['ping 1']);
  });

  it('suspects after that if the answer has not come', () => {
    scene = new Scene();
    scene.call();
    scene.pass(1_000);
    scene.clock.stall(900);
    scene.pass(250);
    expect(scene.log).toEqual(['ping 1', 'suspect 2.15']);
  });

  it('gives nobody up for that, but asks again, and counts anew', () => {
    scene = new Scene();
    scene.call();
    scene.pass(9_000);
    scene.clock.stall(8_000);
    expect(scene.log.slice(2)).toEqual(['ping 17']);
    scene.pass(20_000);
    expect(scene.log.at(-1)).toBe('lost 22'); // the rule of silence: 5 s for the answer
  });

  it('keeps a server that answers it after that', () => {
    scene = new Scene();
    scene.call();
    scene.pass(9_000);
    scene.clock.stall(8_000);
    scene.answer();
    scene.tripMs = 10;
    scene.pass(60_000);
    expect(scene.log.some((line) => line.startsWith('lost'))).toBe(false);
    expect(scene.log[3]).toBe('trusted 17');
  });
});

describe('a process that was frozen for minutes', () => {
  beforeEach(() => {
    scene = new Scene();
    scene.pass(1_000);
    scene.clock.freeze(180_000);
  });

  it('asks the server before its first call, and lets that wait', () => {
    scene.call();
    expect(scene.keepAlive.isUnproven).toBe(true);
    expect(scene.log).toEqual(['suspect 181', 'ping 181']);
    scene.call();
    scene.call();
    expect(scene.log).toHaveLength(2);
    scene.pass(20);
    scene.answer();
    expect(scene.keepAlive.isUnproven).toBe(false);
    expect(scene.log.slice(2)).toEqual(['ping 181', 'trusted 181.02', 'proven 181.02']); // the late check asks, too
  });

  it('takes no other bytes for the answer: they may be as old as the freeze', () => {
    scene.call();
    scene.keepAlive.heard();
    expect([scene.keepAlive.isUnproven, scene.log.length]).toEqual([true, 2]);
    scene.pass(10);
    expect(scene.keepAlive.isUnproven).toBe(true);
  });

  it('lets the calls go elsewhere if there is none in time, once', () => {
    scene.call();
    scene.keepAlive.heard();
    scene.pass(10_000);
    expect(scene.log.filter((line) => line.startsWith('not'))).toEqual(['not proven 181.25']);
    scene.call();
    expect(scene.keepAlive.isUnproven).toBe(false);
  });

  it('still gives the connection up for the calls that were in flight before', () => {
    scene.calls = 1;
    scene.call();
    scene.pass(12_000);
    expect(scene.log.at(-1)?.startsWith('lost')).toBe(true);
  });

  it('asks for it in its first check, too, if that comes before any call', () => {
    scene.pass(0);
    expect(scene.keepAlive.isUnproven).toBe(true);
    expect(scene.log).toEqual(['suspect 181', 'ping 181']);
  });

  it('wants no proof while it does not read, or if the keep-alive is off', () => {
    scene.isPaused = true;
    scene.call();
    expect(scene.keepAlive.isUnproven).toBe(false);
    scene.keepAlive.stop();
    scene = new Scene({ intervalMs: 0 });
    scene.clock.freeze(180_000);
    scene.call();
    expect([scene.keepAlive.isUnproven, scene.clock.pending]).toEqual([false, 0]);
  });
});

it('was asked within the interval: silence of 20 s needs a freeze', () => {
  scene = new Scene();
  scene.tripMs = 200;
  for (let ms = 0; ms < 100_000; ms += 50) {
    scene.pass(50);
    scene.call();
    scene.calls = 0;
    expect(scene.keepAlive.isUnproven).toBe(false);
  }
});
