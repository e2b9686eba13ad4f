import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import { systemClock } from '../../lib/rpc/time/system-clock.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { Outcome, fresh, world } from './connection-world.js';

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
    'takes what is not an error: %p',
    async (thrown: unknown) => {
      fresh();
      const outcome = world.acquire();
      await world.dial.fail(thrown);
      expect(outcome.error?.message).toContain('cannot connect to server:9000');
    },
  );

  it('fails if the server refuses in the handshake, with its reason', async () => {
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

  it('fails if the server never answers DECLARE', async () => {
    fresh();
    const outcome = world.acquire(60_000);
    await world.dial.reach();
    await world.pass(9_000);
    expect(outcome.error?.message).toBe(
      'cannot connect to server:9000: the server did not answer DECLARE in time',
    );
    expect(world.statuses).toEqual(['connecting', 'disconnected']);
  });

  it('fails those who wait if its own DECLARE cannot be sent', async () => {
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

  it('may be wanted again by a caller that hears that it failed', async () => {
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
