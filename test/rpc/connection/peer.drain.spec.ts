import { LocalCode } from '../../../lib/protocol/fault.js';
import { PeerPair, requestOf, type PairOptions } from '../../helpers/peer-pair.js';

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
