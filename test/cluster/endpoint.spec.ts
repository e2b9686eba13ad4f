import { Backoff, DEFAULT_RECONNECT } from '../../lib/cluster/backoff.js';
import { Endpoint, type EndpointState } from '../../lib/cluster/endpoint.js';
import { DEFAULT_POOL } from '../../lib/cluster/pool.js';
import { connectionLost } from '../../lib/rpc/connection/connection-lost.js';
import { CLIENT_KEEP_ALIVE, DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { FakeClock } from '../helpers/fake-clock.js';

const LOST = connectionLost('reset');
const FOR_EVER_MS = 3_600_000;
/** Below the limit of an attempt to connect, above every backoff. */
const LATER_MS = 5_000;

/** An endpoint whose pool the test plays: its attempts to connect have no outcome of their own. */
class Scene {
  readonly clock = new FakeClock();
  readonly changes: EndpointState[] = [];
  readonly failures: string[] = [];
  until: number | undefined;
  dials = 0;
  readonly endpoint: Endpoint;

  constructor() {
    const { clock } = this;
    this.endpoint = new Endpoint({
      address: 'a',
      server: { host: 'a' },
      connect: {
        dial: () => {
          this.dials += 1;
          return new Promise(() => {});
        },
        where: 'a',
        limits: { ...DEFAULT_LIMITS, openTimeoutMs: FOR_EVER_MS },
        keepAlive: CLIENT_KEEP_ALIVE,
        clock,
        deadlines: new DeadlineQueue(clock),
        metadata: {},
      },
      pool: DEFAULT_POOL,
      backoff: new Backoff(
        DEFAULT_RECONNECT,
        () => clock.now(),
        () => 0.5,
      ),
      random: () => 0.5,
      owner: {
        changed: (_endpoint, state) => this.changes.push(state),
        unreachable: (_endpoint, { message }) => this.failures.push(message),
        patienceFor: () => ({ hasOthers: false }),
        ejectedUntil: () => this.until,
        drained: () => {},
      },
    });
  }

  /** Brings it into the state. */
  to(state: EndpointState): this {
    const { endpoint } = this;
    if (state === 'idle') return this;
    if (state === 'gone') endpoint.remove();
    else endpoint.connect();
    if (state === 'connecting' || state === 'gone') return this;
    endpoint.pool.close('the test plays the pool'); // no attempt is under way
    if (state === 'backingOff') return this;
    endpoint.usable();
    if (state === 'suspect') endpoint.suspected(true);
    if (state === 'ejected') endpoint.eject((this.until = this.clock.now() + 1_000), 'failures');
    if (state === 'draining') endpoint.unusable(LOST, { isShutdown: true, isOrderly: true });
    return this;
  }
}

const EVENTS = {
  connect: ({ endpoint }: Scene) => endpoint.connect(),
  usable: ({ endpoint }: Scene) => endpoint.usable(),
  usableEjected(scene: Scene) {
    scene.until = scene.clock.now() + 1_000;
    scene.endpoint.usable();
  },
  lost: ({ endpoint }: Scene) => endpoint.unusable(LOST, { isShutdown: false, isOrderly: false }),
  lostConnecting(scene: Scene) {
    scene.endpoint.pool.open();
    EVENTS.lost(scene);
  },
  shutdown: ({ endpoint }: Scene) => endpoint.unusable(LOST, { isShutdown: true, isOrderly: true }),
  suspect: ({ endpoint }: Scene) => endpoint.suspected(true),
  heard: ({ endpoint }: Scene) => endpoint.suspected(false),
  eject: ({ endpoint, clock }: Scene) => endpoint.eject(clock.now() + 2_000, 'failures'),
  returned: ({ endpoint }: Scene) => endpoint.returned(),
  timer: ({ clock }: Scene) => clock.advance(LATER_MS),
  remove: ({ endpoint }: Scene) => endpoint.remove(),
  close: ({ endpoint }: Scene) => endpoint.close('the client was closed'),
  finish: ({ endpoint }: Scene) => endpoint.finish(),
};
type Event = keyof typeof EVENTS;

/** The next state; without an entry it stays. */
const TABLE: Readonly<Record<EndpointState, Partial<Record<Event, EndpointState>>>> = {
  idle: { connect: 'connecting', remove: 'gone' },
  connecting: {
    usable: 'ready',
    usableEjected: 'ejected',
    lost: 'connecting', // an attempt is under way
    lostConnecting: 'connecting',
    shutdown: 'draining',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  ready: {
    lost: 'backingOff',
    lostConnecting: 'connecting',
    shutdown: 'draining',
    suspect: 'suspect',
    eject: 'ejected',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  suspect: {
    lost: 'backingOff',
    lostConnecting: 'connecting',
    shutdown: 'draining',
    heard: 'ready',
    eject: 'ejected',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  ejected: {
    lost: 'backingOff',
    lostConnecting: 'connecting',
    shutdown: 'draining',
    returned: 'ready',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  backingOff: {
    connect: 'connecting',
    usable: 'ready',
    usableEjected: 'ejected',
    timer: 'connecting',
    shutdown: 'draining',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  draining: {
    connect: 'connecting',
    usable: 'ready',
    usableEjected: 'ejected',
    lost: 'backingOff',
    lostConnecting: 'backingOff',
    timer: 'connecting',
    remove: 'gone',
    close: 'idle',
    finish: 'idle',
  },
  gone: {},
};
const STATES = Object.keys(TABLE) as EndpointState[];

describe.each(STATES)('an endpoint that is %s', (state) => {
  it.each(Object.keys(EVENTS) as Event[])('has an answer to %s', (event) => {
    const scene = new Scene().to(state);
    expect(scene.endpoint.state).toBe(state);
    scene.changes.length = 0;
    EVENTS[event](scene);
    const next = TABLE[state][event] ?? state;
    expect(scene.endpoint.state).toBe(next);
    expect(scene.changes.filter((each, i, all) => each !== all[i - 1] && each !== state)).toEqual(
      next === state ? [] : [next],
    );
  });

  it.each(['close', 'finish', 'remove'] as const)('has no timer left after %s', (event) => {
    const scene = new Scene().to(state);
    EVENTS[event](scene);
    expect(scene.clock.pending).toBe(0);
    const { dials } = scene;
    scene.clock.advance(FOR_EVER_MS);
    expect([scene.dials, scene.clock.pending]).toEqual([dials, 0]);
  });
});

it('starts the timer anew if the next attempt has failed, too', () => {
  const scene = new Scene().to('backingOff');
  EVENTS.lost(scene);
  expect([scene.endpoint.state, scene.clock.pending]).toEqual(['backingOff', 1]);
});

it('tells of each failure of a server that it tries to reach, and of none after its end', () => {
  for (const state of STATES) {
    const scene = new Scene().to(state);
    scene.failures.length = 0;
    EVENTS.lost(scene);
    expect([state, scene.failures]).toEqual([state, state === 'idle' || state === 'gone' ? [] : ['reset']]);
  }
});

it('waits anew if it is ejected again, and then for one probe', () => {
  const scene = new Scene().to('ejected');
  const { endpoint, clock } = scene;
  clock.advance(999);
  expect(endpoint.isProbeDue).toBe(false);
  EVENTS.eject(scene); // for 2 s
  clock.advance(1_999);
  expect(endpoint.isProbeDue).toBe(false);
  clock.advance(1);
  expect([endpoint.isProbeDue, scene.changes.at(-1)]).toEqual([true, 'ejected']);
  endpoint.beginProbe();
  expect(endpoint.isProbeDue).toBe(false);
  endpoint.repeatProbe();
  expect(endpoint.isProbeDue).toBe(true);
});

it('is one that is tried soon from the moment it is hurried until it is reached', () => {
  for (const state of ['backingOff', 'draining'] as const) {
    const { endpoint } = new Scene().to(state);
    expect(endpoint.isSoon).toBe(false);
    endpoint.hurry();
    expect([endpoint.state, endpoint.isSoon]).toEqual([state, true]);
    endpoint.usable();
    expect(endpoint.isSoon).toBe(false);
  }
});
