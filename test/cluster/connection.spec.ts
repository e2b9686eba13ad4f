import { Connection, type ConnectionOptions } from '../../lib/cluster/connection.js';
import type { ConnectionStatus } from '../../lib/cluster/peer-source.js';
import { DEFAULT_RECONNECT } from '../../lib/cluster/backoff.js';
import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import type { Link } from '../../lib/protocol/link.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { CLIENT_KEEP_ALIVE, DEFAULT_LIMITS, SERVER_KEEP_ALIVE } from '../../lib/rpc/limits.js';
import { Peer } from '../../lib/rpc/connection/peer.js';
import { FakeClock } from '../helpers/fake-clock.js';
import { LinkedLinks } from '../helpers/linked-links.js';
import { CountingClock, RecordingOwner, RecordingSink, requestOf } from '../helpers/peer-pair.js';

/** One attempt to dial, which the test lets succeed or fail. */
class Dial {
  readonly links = new LinkedLinks();
  readonly owner = new RecordingOwner();
  server: Peer | undefined;
  readonly result: Promise<Link>;
  #resolve!: (link: Link) => void;
  #reject!: (error: unknown) => void;

  constructor(private readonly world: World) {
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  async fail(
    error: unknown = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
  ): Promise<void> {
    this.#reject(error);
    await this.world.settle();
  }

  /** The connection is there; a server of this project answers. */
  async succeed(): Promise<void> {
    this.server = new Peer(this.links.server, {
      role: 'server',
      owner: this.owner,
      limits: DEFAULT_LIMITS,
      keepAlive: SERVER_KEEP_ALIVE,
      clock: this.world.clock,
      deadlines: this.world.deadlines,
      connectionId: `conn-${this.world.dials.indexOf(this)}`,
    });
    this.server.start();
    await this.reach();
  }

  /** The connection is there; the test plays the server. */
  async reach(): Promise<void> {
    this.links.server.played = this.server === undefined;
    this.#resolve(this.links.client);
    await this.world.settle();
  }
}

/** A connection whose attempts, clock and servers the test controls. */
class World {
  readonly clock = new FakeClock();
  readonly lanes = new CountingClock(this.clock);
  readonly deadlines = new DeadlineQueue(this.lanes);
  readonly dials: Dial[] = [];
  readonly statuses: ConnectionStatus[] = [];
  readonly reasons: (Fault | undefined)[] = [];
  onStatus: ((status: ConnectionStatus) => void) | undefined;
  readonly connection: Connection;

  constructor(options: Partial<ConnectionOptions> = {}) {
    this.connection = new Connection({
      dial: () => {
        const dial = new Dial(this);
        this.dials.push(dial);
        return dial.result;
      },
      where: 'server:9000',
      limits: DEFAULT_LIMITS,
      keepAlive: CLIENT_KEEP_ALIVE,
      clock: this.clock,
      deadlines: this.deadlines,
      metadata: {},
      reconnect: DEFAULT_RECONNECT,
      onStatus: (status, reason) => {
        this.statuses.push(status);
        this.reasons.push(reason);
        this.onStatus?.(status);
      },
      ...options,
    });
  }

  /** The last attempt. */
  get dial(): Dial {
    const dial = this.dials.at(-1);
    if (!dial) throw new Error('nothing was dialled');
    return dial;
  }

  /** Lets bytes and promises come to rest. */
  async settle(): Promise<void> {
    for (let i = 0; i < 10; i++) {
      for (const { links } of this.dials) links.flow();
      await Promise.resolve();
    }
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }

  acquire(timeoutMs = 10_000): Outcome {
    return new Outcome(this.connection.acquire('/default/x', timeoutMs));
  }

  /** Connects for the first time. */
  async open(): Promise<Dial> {
    const first = this.acquire();
    const { dial } = this;
    await dial.succeed();
    expect(first.value).toBe(this.connection.peer);
    return dial;
  }
}

/** Outcome of a promise, to be looked at without waiting. */
class Outcome {
  value: Peer | undefined;
  error: Fault | undefined;

  constructor(promise: Promise<Peer>) {
    promise.then(
      (value) => (this.value = value),
      (error: Fault) => (this.error = error),
    );
  }

  get pending(): boolean {
    return this.value === undefined && this.error === undefined;
  }
}

let world: World;

function fresh(options?: Partial<ConnectionOptions>): World {
  world = new World(options);
  return world;
}

afterEach(async () => {
  world.connection.close('the test is over');
  for (const { server } of world.dials)
    server?.abort(new Fault({ status: 1006, message: 'the test is over' }));
  await world.settle();
  for (const { owner } of world.dials) for (const call of owner.calls) call.ended();
  expect(world.connection.inFlight).toBe(0);
  expect(world.connection.queued).toBe(0);
  expect(world.clock.pending - world.lanes.pending).toBe(0);
  const dials = world.dials.length;
  await world.pass(3_600_000);
  expect(world.clock.pending).toBe(0);
  expect(world.dials).toHaveLength(dials);
});

describe('the first connection', () => {
  it('is dialled when it is wanted, not before', async () => {
    fresh();
    await world.settle();
    expect(world.dials).toEqual([]);
    const { pending } = world.acquire();
    expect([pending, world.dials.length, world.statuses]).toEqual([true, 1, ['connecting']]);
  });

  it('is dialled once, however many want it, and all get the same', async () => {
    fresh();
    const outcomes = Array.from({ length: 20 }, () => world.acquire());
    await world.settle();
    outcomes.push(world.acquire());
    await world.dial.succeed();
    expect(world.dials).toHaveLength(1);
    expect(new Set(outcomes.map(({ value }) => value))).toEqual(new Set([world.connection.peer]));
    expect(world.connection.peer?.state).toBe('open');
    expect(world.statuses).toEqual(['connecting', 'connected']);
    expect(world.acquire().pending).toBe(true); // a microtask away
    await world.settle();
    expect(world.dials).toHaveLength(1);
  });

  it('that fails tells all who wait, at once, with the cause', async () => {
    fresh();
    const outcomes = [world.acquire(), world.acquire()];
    const cause = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9000'), { code: 'ECONNREFUSED' });
    await world.dial.fail(cause);
    for (const { error } of outcomes) {
      expect(error).toMatchObject({
        code: LocalCode.ConnectionLost,
        sent: 'no',
        message: 'cannot connect to server:9000: connect ECONNREFUSED 127.0.0.1:9000',
        cause,
      });
    }
    expect(world.statuses).toEqual(['connecting', 'disconnected']);
    expect(world.connection.queued).toBe(0);
  });

  it('that fails is not tried again by itself, but by the next who wants it', async () => {
    fresh();
    world.acquire();
    await world.dial.fail();
    await world.pass(60_000);
    expect(world.dials).toHaveLength(1);
    const again = world.acquire();
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(again.value).toBe(world.connection.peer);
  });

  it('names the errors of all addresses that were tried', async () => {
    fresh();
    const { error } = await (async () => {
      const outcome = world.acquire();
      await world.dial.fail(new AggregateError([new Error('connect ::1'), new Error('connect 127.0.0.1')]));
      return outcome;
    })();
    expect(error?.message).toBe('cannot connect to server:9000: connect ::1; connect 127.0.0.1');
  });

  it.each([['a text'], [undefined], [null], [{ odd: true }]])(
    'takes what is no error: %p',
    async (thrown: unknown) => {
      fresh();
      const outcome = world.acquire();
      await world.dial.fail(thrown);
      expect(outcome.error?.message).toContain('cannot connect to server:9000');
    },
  );

  it('fails where the server refuses in the handshake, with its reason', async () => {
    fresh();
    const outcome = world.acquire();
    world.dial.links.toClient.inject([203, 4, { target: '/_event/CLOSE' }, 'no room']);
    await world.dial.reach();
    expect(outcome.error).toMatchObject({
      code: LocalCode.ConnectionLost,
      sent: 'no',
      message: 'cannot connect to server:9000: the server closed the connection: no room',
    });
  });

  it('fails where the server never answers DECLARE', async () => {
    fresh();
    const outcome = world.acquire(60_000);
    await world.dial.reach();
    await world.pass(9_000);
    expect(outcome.error?.message).toBe(
      'cannot connect to server:9000: the server did not answer DECLARE in time',
    );
    expect(world.statuses).toEqual(['connecting', 'disconnected']);
  });

  it('fails those who wait where its own DECLARE cannot be sent', async () => {
    fresh({ metadata: { big: 2n ** 70n } });
    const outcome = world.acquire();
    let crash: unknown;
    const onCrash = (error: unknown): void => void (crash = error);
    process.on('unhandledRejection', onCrash);
    try {
      await world.dial.reach();
      await new Promise((resolve) => void setTimeout(resolve, 5));
    } finally {
      process.off('unhandledRejection', onCrash);
    }
    expect(crash).toBeUndefined();
    expect(outcome.error).toBeInstanceOf(Fault);
  });

  it('may be wanted again by whoever hears that it failed', async () => {
    fresh();
    world.acquire();
    let again: Outcome | undefined;
    world.onStatus = (status) => {
      if (status === 'disconnected' && !again) again = world.acquire();
    };
    await world.dial.fail();
    expect(world.dials).toHaveLength(2);
    expect(again?.pending).toBe(true);
    await world.dial.succeed();
    expect(again?.value).toBe(world.connection.peer);
  });
});

describe('waiting', () => {
  it('ends with its own time, in phase connect, and leaves the others waiting', async () => {
    fresh();
    const short = world.acquire(500);
    const long = world.acquire(5_000);
    await world.pass(499);
    expect(short.pending).toBe(true);
    await world.pass(1);
    expect(short.error).toMatchObject({
      code: LocalCode.CallTimeout,
      phase: 'connect',
      sent: 'no',
      message: '/default/x timed out after 500 ms, waiting for a connection to server:9000',
    });
    expect(long.pending).toBe(true);
    await world.dial.succeed();
    expect(long.value).toBe(world.connection.peer);
  });

  it('is bounded: beyond the queue there is an overload', async () => {
    fresh({ limits: { ...DEFAULT_LIMITS, maxQueuedCalls: 2 } });
    const outcomes = [world.acquire(), world.acquire(), world.acquire()];
    await world.settle();
    expect(outcomes.map(({ pending }) => pending)).toEqual([true, true, false]);
    expect(outcomes[2]?.error).toMatchObject({ code: LocalCode.Overload, status: 429, sent: 'no' });
    expect(world.connection.queued).toBe(2);
  });
});

describe('what a waiter gets', () => {
  it('is a connection that is still good when its turn comes', async () => {
    // the answer to DECLARE and the shutdown come in the same bytes
    fresh();
    const outcome = world.acquire();
    world.dial.links.toClient.inject(
      [103, 3, {}, { conn_id: 'x' }],
      [203, 4, { target: '/_event/shutdown' }, { close_timeout: 1 }],
    );
    await world.dial.reach();
    expect(outcome.pending).toBe(true);
    await world.pass(1_000);
    await world.dial.succeed();
    expect(outcome.value?.state).toBe('open');
  });

  it('is a timeout in the words of the caller, also by the real clock', async () => {
    fresh({ clock: systemClock, deadlines: new DeadlineQueue(systemClock) });
    const waiting = world.connection.acquire('/default/x', 25);
    await expect(waiting).rejects.toThrow(
      '/default/x timed out after 25 ms, waiting for a connection to server:9000',
    );
    world.connection.close('the test is over');
  });
});

describe('a connection that was open and is lost', () => {
  it('comes back by itself', async () => {
    const first = await (fresh(), world.open());
    const before = world.connection.peer;
    first.links.server.destroy();
    await world.settle();
    expect(world.connection.peer).toBeUndefined();
    await world.pass(50);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(world.connection.peer).not.toBe(before);
    expect(world.statuses).toEqual([
      'connecting',
      'connected',
      'disconnected',
      'reconnecting',
      'reconnecting',
      'connected',
    ]);
  });

  it('does not come back if it is closed by whoever is told of the loss', async () => {
    const first = await (fresh(), world.open());
    world.onStatus = (status) => {
      if (status === 'disconnected') world.connection.close('enough');
    };
    first.links.server.destroy();
    await world.settle();
    await world.pass(60_000);
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected', 'disconnected']);
    expect(world.dials).toHaveLength(1);
  });

  it('lets calls wait through the outage, however often it is tried in vain', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const waiting = world.acquire(60_000);
    for (let attempt = 2; attempt < 12; attempt++) {
      await world.pass(1_000);
      expect(world.dials).toHaveLength(attempt);
      await world.dial.fail();
      expect(waiting.pending).toBe(true);
    }
    await world.pass(10_000);
    await world.dial.succeed();
    expect(waiting.value).toBe(world.connection.peer);
  });

  it('tells a call that has waited in vain why, as the cause', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const waiting = world.acquire(500);
    await world.pass(50);
    await world.dial.fail();
    await world.pass(500);
    expect(waiting.error).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
    expect(waiting.error?.cause).toMatchObject({
      message: 'cannot connect to server:9000: connect ECONNREFUSED',
    });
  });

  it('keeps the process alive as long as somebody waits for it, not longer', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    expect(world.clock.held).toBe(0);
    const short = world.acquire(20);
    const long = world.acquire(60_000);
    expect(world.clock.held).toBe(1);
    for (let attempt = 2; attempt < 10; attempt++) {
      await world.pass(1_000);
      await world.dial.fail();
      expect(world.clock.held).toBe(1);
    }
    expect([short.pending, long.pending]).toEqual([false, true]);
    await world.pass(60_000);
    await world.dial.fail();
    expect([long.pending, world.clock.held]).toEqual([false, 0]);
  });

  it('keeps the process alive for calls that a server which shuts down did not get', async () => {
    const limits = { ...DEFAULT_LIMITS, maxInFlight: 1 };
    const first = await (fresh({ limits }), world.open());
    const [running, waiting] = [new RecordingSink(), new RecordingSink()];
    for (const sink of [running, waiting]) world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    first.server?.drain(60_000);
    await world.settle();
    await world.pass(60);
    await world.dial.fail();
    expect([waiting.settled, world.clock.held]).toEqual([false, 1]);
    await world.pass(10_000);
    expect([waiting.settled, world.clock.held]).toEqual([true, 0]);
  });

  it('has one attempt at a time, whoever asks', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    const outcomes = Array.from({ length: 5 }, () => world.acquire());
    expect(world.dials).toHaveLength(1);
    await world.pass(50);
    outcomes.push(world.acquire());
    expect(world.dials).toHaveLength(2);
    await world.pass(1_000);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(outcomes.every(({ value }) => value === world.connection.peer)).toBe(true);
  });

  it('is tried at once by nobody: the delays have their jitter', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    expect(world.dials).toHaveLength(1);
  });

  it('keeps trying for an hour, and not faster than it should', async () => {
    const first = await (fresh(), world.open());
    first.links.server.destroy();
    await world.settle();
    let failed = 1;
    for (let second = 0; second < 3_600; second++) {
      await world.pass(1_000);
      for (; failed < world.dials.length; failed++) await (world.dials[failed] as Dial).fail();
    }
    // up to 10 s each, 5 s on average
    expect(world.dials.length).toBeGreaterThan(360);
    expect(world.dials.length).toBeLessThan(1_100);
  });

  it('comes back only with the next call where reconnecting is off', async () => {
    const first = await (fresh({ reconnect: undefined }), world.open());
    first.links.server.destroy();
    await world.settle();
    await world.pass(60_000);
    expect(world.dials).toHaveLength(1);
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected']);
    const again = world.acquire();
    expect(world.dials).toHaveLength(2);
    await world.dial.fail();
    expect(again.error?.code).toBe(LocalCode.ConnectionLost);
  });

  it('fails its calls, and those say that they may have run', async () => {
    const first = await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(), sink);
    expect(world.connection.inFlight).toBe(1);
    await world.settle();
    first.links.server.destroy();
    await world.settle();
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
    expect(world.connection.inFlight).toBe(0);
  });

  it('is no place for a call that is made from the failure of another', async () => {
    const first = await (fresh(), world.open());
    const dead = world.connection.peer;
    let seen: Peer | undefined = dead;
    dead?.call(requestOf(), {
      resolve: () => {},
      reject: () => (seen = world.connection.peer),
    });
    await world.settle();
    first.links.server.destroy();
    await world.settle();
    expect(seen?.state === 'closed').toBe(false);
  });
});

describe('shutdown', () => {
  it('moves later calls to a new connection, while the old one finishes', async () => {
    const first = await (fresh(), world.open());
    const old = world.connection.peer as Peer;
    const sink = new RecordingSink();
    old.call(requestOf('runs'), sink);
    await world.settle();
    first.server?.drain(3_000);
    await world.settle();
    expect([world.connection.peer, old.state, world.connection.inFlight]).toEqual([undefined, 'draining', 1]);
    const later = world.acquire();
    await world.pass(50);
    expect(world.dials).toHaveLength(2);
    await world.dial.succeed();
    expect(later.value).toBe(world.connection.peer);
    expect(later.value).not.toBe(old);
    first.owner.call().reply('answered');
    first.owner.call().ended();
    await world.settle();
    expect(sink.outcome).toBe('answered');
    expect([old.state, world.connection.peer?.state]).toEqual(['closed', 'open']);
    expect(world.connection.inFlight).toBe(0);
  });

  it('takes the calls that waited for a slot along: none is lost, and each has its own time', async () => {
    const limits = { ...DEFAULT_LIMITS, maxInFlight: 1 };
    const first = await (fresh({ limits }), world.open());
    const sinks = ['runs', 'waits', 'short', 'given up', 'waits, too'].map(() => new RecordingSink());
    const old = world.connection.peer as Peer;
    const [, , , givenUp] = sinks.map((sink, i) =>
      old.call(requestOf(i, { timeoutMs: i === 2 ? 40 : 10_000, tellTimeLeft: true }), sink),
    );
    await world.settle();
    expect([world.connection.inFlight, world.connection.queued]).toEqual([1, 4]);
    first.server?.drain(3_000);
    await world.settle();
    expect([world.connection.inFlight, world.connection.queued]).toEqual([1, 4]);
    givenUp?.abandon();
    await world.pass(50);
    expect(sinks[2]?.fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'queue', sent: 'no' });
    expect(world.connection.queued).toBe(2);
    const second = world.dial;
    second.owner.serve = (call) => {
      call.reply(call.body);
      call.ended();
    };
    await second.succeed();
    expect([sinks[1]?.outcome, sinks[4]?.outcome]).toEqual([1, 4]);
    expect(sinks[3]?.settled).toBe(false);
    expect(second.owner.calls.map(({ body }) => body)).toEqual([1, 4]);
    // the new server knows `timeout_ms`: it is told what is left, as with any call
    for (const { header } of second.owner.calls) expect(header.timeout_ms).toBe(9_950);
    first.owner.call().reply('answered');
    first.owner.call().ended();
    await world.settle();
    expect(sinks[0]?.outcome).toBe('answered');
  });

  it('fails the calls that waited for a slot where no connection takes them', async () => {
    const limits = { ...DEFAULT_LIMITS, maxInFlight: 1 };
    const first = await (fresh({ limits }), world.open());
    const sinks = [new RecordingSink(), new RecordingSink()];
    for (const sink of sinks) world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    first.server?.drain(3_000);
    await world.settle();
    world.connection.close('closed');
    expect(sinks[0]?.fault.sent).toBe('unknown');
    expect(sinks[1]?.fault.sent).toBe('no');
    expect(world.connection.queued).toBe(0);
  });

  it('of a connection without calls closes it, and another one takes its place', async () => {
    const first = await (fresh(), world.open());
    first.server?.drain(3_000);
    await world.settle();
    expect(first.server?.state).toBe('closed');
    await world.pass(50);
    await world.dial.succeed();
    expect(world.connection.peer?.state).toBe('open');
    expect(world.dials).toHaveLength(2);
  });

  it('does not count as a failure of the new connection when the old one goes', async () => {
    const first = await (fresh(), world.open());
    const old = world.connection.peer as Peer;
    old.call(requestOf(), new RecordingSink());
    await world.settle();
    first.server?.drain(3_000);
    await world.settle();
    await world.pass(50);
    await world.dial.succeed();
    const current = world.connection.peer;
    const statuses = world.statuses.length;
    // the stale peer ends in every way there is
    first.links.server.destroy();
    await world.settle();
    world.connection.onClose(old, new Fault({ status: 1006, message: 'again' }));
    world.connection.onShutdown(old, []);
    world.connection.onOpen(old);
    expect(world.connection.peer).toBe(current);
    expect(world.statuses).toHaveLength(statuses);
    expect(world.dials).toHaveLength(2);
  });
});

describe('close', () => {
  it('fails those who wait, and says so', async () => {
    fresh();
    const outcomes = [world.acquire(), world.acquire()];
    world.connection.close('the client was closed');
    await world.settle();
    for (const { error } of outcomes) {
      expect(error).toMatchObject({
        code: LocalCode.ConnectionLost,
        sent: 'no',
        message: 'the connection to server:9000 was closed: the client was closed',
      });
    }
    expect(world.statuses).toEqual(['connecting', 'disconnected']);
  });

  it('drops a connection that comes too late', async () => {
    fresh();
    world.acquire();
    const late = world.dial;
    world.connection.close('closed');
    await late.reach();
    expect(late.links.client.closed).toBe(true);
    expect(late.links.toServer.frames).toEqual([]);
    expect(world.connection.peer).toBeUndefined();
  });

  it('does not mind an attempt that fails after it', async () => {
    fresh();
    world.acquire();
    const late = world.dial;
    world.connection.close('closed');
    const again = world.acquire();
    await late.fail();
    expect(again.pending).toBe(true);
    await world.dial.succeed();
    expect(again.value).toBe(world.connection.peer);
    expect(world.dials).toHaveLength(2);
  });

  it('ends an attempt in its handshake', async () => {
    fresh();
    const outcome = world.acquire();
    await world.dial.reach();
    world.connection.close('closed');
    await world.settle();
    expect(outcome.error?.sent).toBe('no');
    expect(world.dial.links.client.closed).toBe(true);
  });

  it('ends the open connection, the draining ones, and the waiting for the next attempt', async () => {
    const first = await (fresh(), world.open());
    const old = world.connection.peer as Peer;
    const sink = new RecordingSink();
    old.call(requestOf(), sink);
    await world.settle();
    first.server?.drain(3_000);
    await world.settle();
    world.connection.close('closed');
    await world.settle();
    expect(sink.fault.code).toBe(LocalCode.ConnectionLost);
    expect(old.state).toBe('closed');
    await world.pass(60_000);
    expect(world.dials).toHaveLength(1);
  });

  it('may be called again, and a later call connects again', async () => {
    await (fresh(), world.open());
    world.connection.close('closed');
    world.connection.close('closed');
    await world.settle();
    expect(world.statuses).toEqual(['connecting', 'connected', 'disconnected']);
    const again = world.acquire();
    await world.dial.succeed();
    expect(again.value).toBe(world.connection.peer);
  });

  it('makes the next connection a first one: its failure is told at once', async () => {
    await (fresh(), world.open());
    world.connection.close('closed');
    const again = world.acquire();
    await world.dial.fail();
    expect(again.error?.code).toBe(LocalCode.ConnectionLost);
  });
});

describe('the time to connect', () => {
  const limits = { ...DEFAULT_LIMITS, openTimeoutMs: 9_000 };

  it('is one for reaching the server and for its answer to DECLARE', async () => {
    const first = fresh({ limits }).acquire(60_000);
    await world.pass(4_000);
    await world.dial.reach();
    await world.pass(4_999);
    expect(first.pending).toBe(true);
    await world.pass(1);
    expect(first.error).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(first.error?.message).toContain('DECLARE');
  });

  it('does not begin before what comes first is done', async () => {
    let ready!: () => void;
    const prepare = (): Promise<object> => new Promise((resolve) => (ready = () => resolve({})));
    const first = fresh({ limits, prepare }).acquire(60_000);
    await world.pass(20_000);
    expect(world.dials).toEqual([]);
    ready();
    await world.settle();
    await world.dial.reach();
    await world.pass(8_999);
    expect(first.pending).toBe(true);
    await world.pass(1);
    expect(first.error?.message).toContain('DECLARE');
  });
});

describe('drain', () => {
  it('lets what runs end, then closes', async () => {
    const first = await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    let drained = false;
    void world.connection.drain().then(() => (drained = true));
    await world.settle();
    expect([drained, world.connection.peer]).toEqual([false, undefined]);
    first.owner.call().reply('answered');
    first.owner.call().ended();
    await world.settle();
    expect([sink.outcome, drained]).toEqual(['answered', true]);
    expect(first.server?.state).toBe('closed');
  });

  it('ends, too, where the last call runs out of time', async () => {
    await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(null, { timeoutMs: 1_000 }), sink);
    await world.settle();
    let drained = false;
    void world.connection.drain().then(() => (drained = true));
    await world.pass(1_000);
    expect(sink.fault.phase).toBe('response');
    expect(drained).toBe(true);
  });

  it('ends, too, where the last call is given up', async () => {
    await (fresh(), world.open());
    const call = world.connection.peer?.call(requestOf(), new RecordingSink());
    await world.settle();
    let drained = false;
    void world.connection.drain().then(() => (drained = true));
    call?.abandon();
    await world.settle();
    expect(drained).toBe(true);
  });

  it('may be asked for twice: what runs is left alone', async () => {
    const first = await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    const drained = Promise.all([world.connection.drain(), world.connection.drain()]);
    await world.settle();
    first.owner.call().reply('answered');
    first.owner.call().ended();
    await world.settle();
    expect(sink.outcome).toBe('answered');
    await drained;
  });

  it('leaves alone what still runs at a server that shuts down', async () => {
    const first = await (fresh(), world.open());
    const sink = new RecordingSink();
    world.connection.peer?.call(requestOf(), sink);
    await world.settle();
    first.server?.drain(3_000);
    await world.settle();
    const drained = world.connection.drain();
    await world.settle();
    first.owner.call().reply('answered');
    first.owner.call().ended();
    await world.settle();
    expect(sink.outcome).toBe('answered');
    await drained;
  });

  it('is done at once where nothing is open', async () => {
    await fresh().connection.drain();
    expect(world.statuses).toEqual([]);
  });
});
