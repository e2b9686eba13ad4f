import { Fault } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import { PeerPair, type PairOptions } from '../../helpers/peer-pair.js';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

/** Answers that the server has sent. */
const answers = (): Frame[] => pair.links.toClient.frames.filter(([type]) => type === 101);

const failure = (message = 'no'): Fault => new Fault({ status: 301, message, remoteName: 'ValueError' });

it('is answered once: what comes later is dropped', () => {
  open();
  const { sink } = pair.call();
  pair.flow();
  const call = pair.serverOwner.call();
  call.reply('first');
  call.reply('second');
  call.fail(failure(), 'InvokeError');
  call.expire();
  call.abort(failure());
  pair.flow();
  expect(sink.outcome).toBe('first');
  expect(answers()).toHaveLength(1);
});

it('answers a value with an empty header, or with the one that the handler set', () => {
  open();
  pair.call();
  pair.call();
  pair.flow();
  pair.serverOwner.call(0).reply(3);
  pair.serverOwner.call(1).setHeader('x-cost', 7);
  pair.serverOwner.call(1).reply(undefined);
  expect(answers()).toEqual([
    [101, pair.serverOwner.call(0).id, {}, 3],
    [101, pair.serverOwner.call(1).id, { 'x-cost': 7 }, null],
  ]);
});

it('gives nothing but status and text to the wire, and name and code to peers of this project', () => {
  open();
  pair.call();
  pair.flow();
  const call = pair.serverOwner.call();
  call.fail(new Fault({ status: 1002, message: 'bad', cause: new Error('secret') }), 'ParseError');
  expect(answers()).toEqual([
    [101, call.id, { status_code: 1002, error: { name: 'ParseError', code: 'ERR_RAP_PARSE' } }, 'bad'],
  ]);
});

it('holds its slot until its handler has ended, however it was settled', () => {
  open({ limits: { maxInFlight: 1 } });
  pair.call('slow', { timeoutMs: 100 });
  pair.flow();
  const slow = pair.serverOwner.call();
  pair.clock.advance(100);
  // the client has given up and calls again; the first handler still runs
  const refused = pair.call('again');
  pair.flow();
  expect(refused.sink.fault.status).toBe(429);
  slow.reply('late');
  expect([pair.server.incoming.size, pair.load.running]).toEqual([1, 1]);
  const still = pair.call('and again');
  pair.flow();
  expect(still.sink.fault.status).toBe(429);
  slow.ended();
  expect([pair.server.incoming.size, pair.load.running]).toEqual([0, 0]);
  const served = pair.call('now');
  pair.flow();
  expect(served.sink.settled).toBe(false);
  expect(pair.serverOwner.calls.map(({ body }) => body)).toEqual(['slow', 'now']);
});

it('frees its slot once, however often it ends', () => {
  open();
  pair.call(1);
  pair.call(2);
  pair.flow();
  const call = pair.serverOwner.call(0);
  for (let i = 0; i < 3; i++) call.ended();
  expect([pair.server.incoming.size, pair.load.running]).toEqual([1, 1]);
});

it('refuses at once beyond the limit of the connection, and does not start the handler', () => {
  open({ limits: { maxInFlight: 3 } });
  const { sink } = pair.call('runs');
  // a peer that does not keep to the limit
  for (let id = 101; id <= 109; id += 2) pair.links.toServer.inject([101, id, { target: '/default/x' }, id]);
  pair.flow();
  expect(pair.serverOwner.calls.map(({ body }) => body)).toEqual(['runs', 101, 103]);
  expect(answers().map(([, id, header, body]) => [id, header.status_code, body])).toEqual(
    [105, 107, 109].map((id) => [id, 429, 'Too many calls in flight']),
  );
  expect(pair.server.incoming.refused).toBe(3);
  expect([sink.settled, pair.server.state]).toEqual([false, 'open']);
});

it('refuses beyond the limit of the whole server', () => {
  open({ limits: { maxInFlightTotal: 2 } });
  pair.load.calls = 1; // another connection's call
  const first = pair.call();
  const second = pair.call();
  pair.flow();
  expect([first.sink.settled, second.sink.fault.status]).toEqual([false, 429]);
  expect(pair.load.running).toBe(2);
  pair.load.calls -= 1;
});

it('takes an id again once its call has ended, and breaks off when it comes while it runs', () => {
  open();
  const call: Frame = [101, 11, { target: '/default/x' }, null];
  pair.links.toServer.inject(call);
  pair.flow();
  pair.serverOwner.call().reply(1);
  pair.serverOwner.call().ended();
  pair.links.toServer.inject(call);
  pair.flow();
  expect(pair.serverOwner.calls).toHaveLength(2);
  pair.links.toServer.inject(call);
  pair.flow();
  expect(pair.serverOwner.reason).toMatchObject({ status: 1003, message: 'correlation id 11 is in use' });
  expect(pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body)).toEqual([
    'correlation id 11 is in use',
  ]);
});

describe('the run timeout', () => {
  it("answers in rap's words, tells the handler, and keeps the slot", () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    const call = pair.serverOwner.call();
    call.limitRun(1000);
    const { signal } = call;
    expect([call.timeLeftMs, signal.aborted]).toEqual([1000, false]);
    pair.clock.advance(400);
    expect(call.timeLeftMs).toBe(600);
    pair.clock.advance(600);
    pair.flow();
    expect(sink.fault).toMatchObject({
      status: 301,
      remoteName: 'RpcRunTimeError',
      message: 'Call slow timeout',
    });
    expect([signal.aborted, call.settled, pair.server.incoming.size]).toEqual([true, true, 1]);
    expect(signal.reason).toBeInstanceOf(Fault);
    expect(call.timeLeftMs).toBeUndefined();
    call.reply('too late');
    call.ended();
    expect(answers()).toHaveLength(1);
  });

  it('ends with the answer', () => {
    open();
    pair.call();
    pair.flow();
    const call = pair.serverOwner.call();
    call.limitRun(1000);
    call.reply(1);
    call.ended();
    pair.clock.advance(5000);
    expect(answers()).toHaveLength(1);
  });
});

describe('the signal', () => {
  it('is aborted when the connection goes, also if it is first asked for after that', () => {
    open();
    pair.call(1);
    pair.call(2);
    pair.flow();
    const [early, late] = [pair.serverOwner.call(0), pair.serverOwner.call(1)];
    const { signal } = early;
    pair.links.client.destroy();
    pair.flow();
    expect([signal.aborted, late.signal.aborted]).toEqual([true, true]);
    expect(late.signal.reason).toBe(signal.reason);
    expect(signal.reason).toBe(pair.serverOwner.reason);
    expect(pair.server.incoming.size).toBe(2);
  });

  it('is not aborted by an answer', () => {
    open();
    pair.call();
    pair.flow();
    const call = pair.serverOwner.call();
    const { signal } = call;
    call.reply(1);
    call.ended();
    expect(signal.aborted).toBe(false);
  });
});

describe('onSettled', () => {
  it('is called once, whatever ends the call', () => {
    open();
    const settled: string[] = [];
    for (const how of ['reply', 'fail', 'expire', 'abort', 'ended'] as const) {
      pair.call(how);
      pair.flow();
      const call = pair.serverOwner.call();
      call.onSettled = () => settled.push(how);
      if (how === 'reply') call.reply(1);
      else if (how === 'expire') call.expire();
      else if (how === 'ended') call.ended();
      else if (how === 'abort') call.abort(failure());
      else call.fail(failure(), 'InvokeError');
      call.reply('again');
      call.ended();
    }
    expect(settled).toEqual(['reply', 'fail', 'expire', 'abort', 'ended']);
  });

  it('does not keep the other calls, and the owner, from learning of the end if one throws', () => {
    open();
    for (let i = 0; i < 3; i++) pair.call(i);
    pair.flow();
    pair.serverOwner.call(0).onSettled = () => {
      throw new Error('a hook of instrumentation failed');
    };
    pair.links.client.destroy();
    try {
      pair.flow();
    } catch {
      // where the error shows is not asked here
    }
    pair.flow();
    expect(pair.serverOwner.calls.map(({ settled }) => settled)).toEqual([true, true, true]);
    expect(pair.serverOwner.events).toContain('close');
  });
});

describe('an answer that cannot be sent', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  const evil = {
    toJSON(): never {
      throw Object.defineProperty(new Error(), 'message', {
        get(): never {
          throw new TypeError('not even the error can be read');
        },
      });
    },
  };
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();

  it.each([
    ['is circular', circular, {}],
    ['is too large', Buffer.alloc(5000), {}],
    ['holds too many digits as keys of Maps', new Map(Array.from({ length: 20_000 }, (_, i) => [i, 0])), {}],
    ['throws when it is read', evil, {}],
    ['throws a revoked proxy', { toJSON: () => { throw revoked.proxy; } }, {}], // prettier-ignore
    ['holds more values than a frame may', Array.from({ length: 500 }, () => 0), {}],
    ['has a header beyond the limit', 'fine', { 'x-note': 'n'.repeat(700) }],
    ['has a header that cannot be encoded', 'fine', { 'x-note': circular }],
  ])('becomes an error of this call alone if it %s', (_, body: unknown, header: object) => {
    open({
      limits: {
        maxFrameBytes: 4096,
        maxFrameBytesBeforeDeclare: 4096,
        maxItems: 400,
        maxHeaderBytes: 512,
      },
    });
    const bad = pair.call('bad');
    const good = pair.call('good');
    pair.flow();
    const [badCall, goodCall] = [pair.serverOwner.call(0), pair.serverOwner.call(1)];
    for (const [key, value] of Object.entries(header)) badCall.setHeader(key, value);
    try {
      badCall.reply(body);
    } finally {
      badCall.ended();
    }
    pair.flow();
    goodCall.reply('answered');
    goodCall.ended();
    pair.flow();
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
    expect(good.sink.outcome).toBe('answered');
    expect(bad.sink.fault.status).toBeGreaterThanOrEqual(301);
    expect(bad.sink.fault.message.length).toBeLessThanOrEqual(1024);
  });
});
