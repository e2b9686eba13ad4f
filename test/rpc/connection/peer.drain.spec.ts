import { LocalCode } from '../../../lib/protocol/fault.js';
import { PeerPair, type RecordingSink, requestOf, type PairOptions } from '../../helpers/peer-pair.js';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const closeReasons = (): unknown[] => pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body);

/** The handler of the `index`-th call ends with an answer. */
function finish(index: number, body: unknown = 'done'): void {
  const call = pair.serverOwner.call(index);
  call.reply(body);
  call.ended();
}

it('closes at once if nothing runs: shutdown, a ping as the fence, then CLOSE', () => {
  open();
  pair.server.drain(3_000);
  expect(pair.server.state).toBe('draining');
  expect(pair.links.toClient.frames.slice(1)).toEqual([
    [203, 4, { target: '/_event/shutdown' }, { close_timeout: 3 }],
    [203, 6, { target: '/_event/ping' }, ''],
  ]);
  pair.flow();
  expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
  expect(pair.clientOwner.events).toEqual(['open', 'shutdown', 'close']);
  expect(pair.clock.pending - pair.lanes.pending).toBe(0);
});

it('names the grace in whole seconds, rounded up', () => {
  open();
  pair.server.drain(2_001);
  expect(pair.links.toClient.to('/_event/shutdown')[0]?.[3]).toEqual({ close_timeout: 3 });
});

it('answers what runs before it closes', () => {
  open();
  const { sink } = pair.call();
  pair.flow();
  pair.server.drain(3_000);
  pair.flow();
  expect([pair.client.state, pair.server.state, sink.settled]).toEqual(['draining', 'draining', false]);
  finish(0);
  pair.flow();
  expect(sink.outcome).toBe('done');
  expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
});

it('serves a call that crosses the shutdown on its way', () => {
  open();
  pair.links.toServer.hold();
  const { sink } = pair.call('crossing');
  pair.server.drain(3_000);
  pair.flow();
  expect(pair.clientOwner.events).toContain('shutdown');
  expect(pair.server.state).toBe('draining');
  pair.links.toServer.release();
  pair.flow();
  expect(pair.serverOwner.call().body).toBe('crossing');
  finish(0, 'served');
  pair.flow();
  expect(sink.outcome).toBe('served');
});

it('does not wait for the answer to its ping for longer than a second, if nothing runs', () => {
  open();
  pair.links.toServer.hold();
  pair.server.drain(9_000);
  pair.pass(999);
  expect(pair.server.state).toBe('draining');
  pair.pass(1);
  expect(pair.server.state).toBe('closed');
});

it.each<[string, () => void, () => void]>([
  [
    'while the shutdown event itself waits to be sent',
    () => pair.links.toClient.hold(),
    () => pair.links.toClient.release(),
  ],
  ['while this side does not read', () => pair.links.server.pause(), () => pair.links.server.resume()],
])('gives the client its second from when it can be heard: not %s', (_what, begin, end) => {
  open();
  pair.links.toServer.hold();
  begin();
  pair.server.drain(9_000);
  pair.pass(3_500, 100);
  expect(pair.server.state).toBe('draining');
  end();
  pair.pass(500, 100);
  expect(pair.server.state).toBe('closed');
});

it('gives the client another second if this process stood still meanwhile', () => {
  open();
  pair.links.toServer.hold();
  pair.server.drain(9_000);
  pair.clock.stall(2_000);
  pair.pass(900, 100);
  expect(pair.server.state).toBe('draining');
  pair.pass(100);
  expect(pair.server.state).toBe('closed');
});

it('does not close before the answer to its ping, though nothing runs', () => {
  open();
  pair.links.toServer.hold();
  pair.server.drain(3_000);
  pair.pass(900);
  expect(pair.server.state).toBe('draining');
  pair.links.toServer.release();
  pair.flow();
  expect(pair.server.state).toBe('closed');
});

it('does not close before every handler has ended, also those that were answered', () => {
  open();
  pair.call(1);
  pair.call(2);
  pair.flow();
  pair.server.drain(3_000);
  pair.serverOwner.call(0).reply('early');
  pair.serverOwner.call(1).reply('early');
  pair.links.toServer.hold(); // the client, satisfied, closes: its end is on the way
  pair.flow();
  expect(pair.server.state).toBe('draining');
  pair.serverOwner.call(0).ended();
  expect(pair.server.state).toBe('draining');
  pair.links.toServer.release();
  pair.flow();
  pair.serverOwner.call(1).ended();
  pair.flow();
  expect(pair.server.state).toBe('closed');
});

it('ends what still runs when the grace is over, and says why', () => {
  open();
  const { sink } = pair.call();
  pair.flow();
  const { signal } = pair.serverOwner.call();
  pair.server.drain(3_000);
  pair.pass(2_999);
  expect([signal.aborted, sink.settled]).toEqual([false, false]);
  pair.pass(1);
  expect(signal.aborted).toBe(true);
  expect(closeReasons()).toEqual(['server shutdown']);
  expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
  expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
});

it('ends a connection whose client never answers the ping when the grace is over', () => {
  open();
  pair.links.toServer.lose();
  pair.server.drain(3_000);
  pair.flow();
  pair.clock.advance(3_000);
  expect(pair.server.state).toBe('closed');
  expect(closeReasons()).toEqual(['server shutdown']);
});

it('may be asked for twice, and after the end', () => {
  open();
  pair.call();
  pair.flow();
  pair.server.drain(3_000);
  pair.server.drain(60_000);
  pair.flow();
  expect(pair.links.toClient.to('/_event/shutdown')).toHaveLength(1);
  pair.clock.advance(3_000);
  expect(pair.server.state).toBe('closed');
  pair.server.drain(1_000);
  expect(pair.server.state).toBe('closed');
});

it('closes a connection that has not said DECLARE', () => {
  pair = new PeerPair({ scripted: 'client' });
  pair.server.start();
  pair.server.drain(3_000);
  expect(pair.server.state).toBe('closed');
  expect(closeReasons()).toEqual(['server shutdown']);
});

it('ends within the grace, whatever a client has said about shutting down itself', () => {
  // the client keeps a channel open and says what only a server may say
  open();
  pair.client.openChannel(requestOf({}));
  pair.links.toServer.inject([103, 99, { target: '/_event/shutdown' }, { close_timeout: 1 }]);
  pair.flow();
  pair.server.drain(3_000);
  pair.flow();
  pair.clock.advance(3_000);
  expect(pair.server.state).toBe('closed');
});

it('loses no call, whenever the shutdown comes', () => {
  // every place of the shutdown among ten calls, every place of the bytes
  for (let at = 0; at <= 10; at++) {
    for (const pieces of [1, 7, Infinity]) {
      open();
      pair.serverOwner.serve = (call) => {
        call.reply(call.body);
        call.ended();
      };
      pair.links.toServer.hold();
      const calls = Array.from({ length: at }, (_, i) => pair.call(i));
      pair.server.drain(3_000);
      pair.links.toServer.release(pieces);
      pair.links.toClient.release(pieces);
      pair.flow();
      expect(calls.map(({ sink }) => sink.outcome)).toEqual(Array.from({ length: at }, (_, i) => i));
      pair.end();
    }
  }
  open();
});

describe('a client that drains', () => {
  it('goes when its last call is answered', () => {
    open();
    const calls = [pair.call(1), pair.call(2)];
    pair.flow();
    pair.server.drain(3_000);
    pair.flow();
    finish(0);
    pair.flow();
    expect([calls[0]?.sink.settled, pair.client.state]).toEqual([true, 'draining']);
    finish(1);
    pair.flow();
    expect(pair.client.state).toBe('closed');
  });

  it('goes when the last call that it waits for is given up or out of time', () => {
    for (const how of ['abandon', 'timeout'] as const) {
      open();
      const { call } = pair.call(1, { timeoutMs: 1_000 });
      pair.flow();
      pair.server.drain(10_000);
      pair.flow();
      if (how === 'abandon') call.abandon();
      else pair.clock.advance(1_000);
      expect(pair.client.calls.inFlight).toBe(0);
      pair.flow();
      // the server's handler still runs; the client has no reason to stay
      expect({ how, state: pair.client.state }).toEqual({ how, state: 'closed' });
      pair.end();
    }
    open();
  });

  it('is told once', () => {
    open();
    pair.call();
    pair.flow();
    for (let i = 0; i < 3; i++) {
      pair.links.toClient.inject([203, 100 + 2 * i, { target: '/_event/shutdown' }, { close_timeout: 1 }]);
    }
    pair.flow();
    expect(pair.clientOwner.events).toEqual(['open', 'shutdown']);
  });

  it.each([[null], ['now'], [{}], [{ close_timeout: 'x' }], [{ close_timeout: -5 }]])(
    'takes a shutdown whose body is %p',
    (body: unknown) => {
      open();
      pair.call();
      pair.flow();
      pair.links.toClient.inject([203, 100, { target: '/_event/shutdown' }, body]);
      pair.flow();
      expect(pair.client.state).toBe('draining');
    },
  );

  it('hands back what waited in its queue: it is unsent, and may go elsewhere', () => {
    open({ limits: { maxInFlight: 1 } });
    const running = pair.call('runs');
    const queued = ['waits', 'given up', 'waits, too'].map((body) => pair.call(body));
    queued[1]?.call.abandon();
    pair.flow();
    pair.server.drain(3_000);
    pair.flow();
    expect(pair.clientOwner.unsent.map(({ request }) => request.body)).toEqual(['waits', 'waits, too']);
    expect(pair.client.calls.queued).toBe(0);
    finish(0);
    pair.flow();
    expect(running.sink.outcome).toBe('done');
    expect(pair.serverOwner.calls.map(({ body }) => body)).toEqual(['runs']);
    expect(queued.map(({ sink, call }) => [sink.settled, call.wasSent])).toEqual([
      [false, false],
      [false, false],
      [false, false],
    ]);
    for (const { call } of queued) call.abandon();
  });

  it('starts nothing new: a call on it fails at once, unsent', () => {
    open();
    pair.call('runs');
    pair.flow();
    pair.server.drain(3_000);
    pair.flow();
    expect(pair.client.state).toBe('draining');
    const { sink } = pair.call('too late');
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
  });
});

const answers = (id: number): unknown[] => pair.links.toClient.frames.filter((frame) => frame[1] === id);
const bodies = (): unknown[] => pair.serverOwner.calls.map(({ body }) => body);

describe('a client that ignores the shutdown event', () => {
  let lastId = 1001;
  let running: RecordingSink;

  /** A client that has a call in flight, and confirms the fence. What it sends in spite of that, the test injects. */
  function ignore(options?: PairOptions): void {
    open(options);
    running = pair.call('runs').sink;
    pair.flow();
    pair.server.drain(3_000);
    pair.flow(); // the client confirms the fence
  }

  const send = (header: object = {}, type = 101): void => {
    pair.links.toServer.inject([type, (lastId += 2), { target: '/default/x', ...header }, 'late'] as never);
    pair.flow();
  };

  const refusal = {
    status_code: 429,
    error: { name: 'TooManyRequestsError', code: 'ERR_RAP_DRAINING', refused: true },
  };

  it('is refused what it sends after it has confirmed the fence, and loses nothing that ran', () => {
    ignore();
    send();
    expect(answers(lastId)).toEqual([[101, lastId, refusal, 'the server shuts down']]);
    expect(bodies()).toEqual(['runs']);
    expect(pair.server.incoming.refused).toBe(1);
    expect(pair.server.state).toBe('draining');
    finish(0);
    pair.flow();
    expect(running.outcome).toBe('done');
    expect(pair.server.state).toBe('closed');
  });

  it('is refused a channel, too: DROP', () => {
    ignore();
    send({ channel_life_cycle: 'DECLARE' }, 102);
    expect(answers(lastId)).toEqual([
      [102, lastId, { ...refusal, channel_life_cycle: 'DROP' }, 'the server shuts down'],
    ]);
    expect(pair.serverOwner.channels).toEqual([]);
    finish(0);
  });

  it('is refused an event, once, as agreed', () => {
    ignore();
    send({ one_way: true });
    expect(answers(lastId)).toEqual([[101, lastId, refusal, 'the server shuts down']]);
    expect(bodies()).toEqual(['runs']);
    finish(0);
  });

  it('does not keep the server: a call after another cannot hold it until its time is over', () => {
    ignore();
    for (let i = 0; i < 50; i++) send();
    finish(0);
    pair.flow();
    expect(pair.server.state).toBe('closed');
    expect(pair.clock.now()).toBeLessThan(3_000);
  });

  it('is served as before while it has not confirmed the fence', () => {
    open();
    pair.links.toServer.hold();
    pair.server.drain(3_000);
    pair.call('first');
    pair.links.toServer.release();
    pair.flow();
    expect(bodies()).toEqual(['first']);
    finish(0);
  });

  it('is refused before the processors see anything', () => {
    const seen: unknown[] = [];
    ignore({ serverProcessors: [{ processRequest: ({ body }) => void seen.push(body) }] });
    send();
    expect(seen).toEqual(['runs']);
    expect(answers(lastId)).toHaveLength(1);
    finish(0);
  });

  it('is served on a connection whose keys are used up: another takes its place, the server goes on', () => {
    open();
    pair.call('runs');
    pair.flow();
    pair.server.retire();
    pair.flow();
    send();
    expect(bodies()).toEqual(['runs', 'late']);
    pair.server.drain(3_000);
    pair.flow();
    send();
    expect(bodies()).toEqual(['runs', 'late']);
    finish(0);
    finish(1);
  });
});

it('a call that a limit refuses is safe to repeat', () => {
  open({ limits: { maxInFlight: 1 } });
  pair.links.toServer.inject([101, 1001, { target: '/default/x' }, 'fills the server']);
  pair.flow();
  const { sink } = pair.call('too many');
  pair.flow();
  expect(sink.fault).toMatchObject({ status: 429, sent: 'no' });
  finish(0);
});

it('answers each of 1,000 calls in flight exactly once', () => {
  open({ limits: { maxInFlight: 1_000 } });
  const calls = Array.from({ length: 1_000 }, (_, i) => pair.call(i));
  pair.flow();
  expect(pair.serverOwner.calls).toHaveLength(1_000);
  pair.server.drain(3_000);
  pair.flow();
  // in no order
  for (let i = 0; i < 1_000; i++) finish((i * 7) % 1_000, (i * 7) % 1_000);
  pair.flow();
  expect(calls.map(({ sink }) => sink.outcome)).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
});
