import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import type { Frame } from '../../../lib/protocol/frame.js';
import { PeerPair, RecordingSink, requestOf, type PairOptions } from '../../helpers/peer-pair.js';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

/** Bodies of the calls that reached the server. */
const served = (): unknown[] => pair.serverOwner.calls.map(({ body }) => body);

const counts = (): [inFlight: number, queued: number] => [
  pair.client.calls.inFlight,
  pair.client.calls.queued,
];

it('resolves a call with its answer, and rejects one with its error', () => {
  open();
  const good = pair.call({ a: 1 });
  const bad = pair.call({ a: 2 });
  pair.flow();
  expect(counts()).toEqual([2, 0]);
  pair.serverOwner
    .call(1)
    .fail(new Fault({ status: 301, message: 'boom', remoteName: 'ValueError' }), 'InvokeError');
  pair.serverOwner.call(0).reply('good');
  pair.flow();
  expect(good.sink.outcome).toBe('good');
  expect(bad.sink.fault).toMatchObject({ status: 301, message: 'boom', remoteName: 'ValueError' });
  expect(counts()).toEqual([0, 0]);
});

it('takes answers in any order', () => {
  open();
  const calls = Array.from({ length: 50 }, (_, i) => pair.call(i));
  pair.flow();
  for (const call of pair.serverOwner.calls.toReversed()) call.reply((call.body as number) * 2);
  pair.flow();
  expect(calls.map(({ sink }) => sink.outcome)).toEqual(Array.from({ length: 50 }, (_, i) => i * 2));
});

it('sends nothing beyond maxInFlight, and the next queued call with each that settles, first come first', () => {
  open({ limits: { maxInFlight: 2 } });
  const calls = [1, 2, 3, 4, 5].map((i) => pair.call(i));
  pair.flow();
  expect(served()).toEqual([1, 2]);
  expect(counts()).toEqual([2, 3]);
  pair.serverOwner.call(0).reply('one');
  pair.serverOwner.call(0).ended();
  pair.flow();
  expect(served()).toEqual([1, 2, 3]);
  pair.serverOwner.call(1).fail(new Fault({ status: 500, message: 'no' }), 'ServerError');
  pair.serverOwner.call(1).ended();
  pair.flow();
  expect(served()).toEqual([1, 2, 3, 4]);
  expect(counts()).toEqual([2, 1]);
  expect(calls.map(({ sink }) => sink.settled)).toEqual([true, true, false, false, false]);
});

it('sends the next when a call is given up or runs out of time', () => {
  open({ limits: { maxInFlight: 1, maxInFlightTotal: 10 } });
  const first = pair.call(1);
  pair.call(2, { timeoutMs: 50 });
  pair.call(3);
  first.call.abandon();
  expect(counts()).toEqual([0, 2]);
  pair.clock.advance(50);
  expect(counts()).toEqual([1, 0]);
  expect(pair.links.toServer.frames.filter(([type]) => type === 101).map(([, , , body]) => body)).toEqual([
    1, 2, 3,
  ]);
});

/** Bodies of the calls that were sent. */
const sent = (): unknown[] =>
  pair.links.toServer.frames.filter(([type]) => type === 101).map(([, , , body]) => body);

describe('calls that are given up together', () => {
  it('send nothing of those that waited', () => {
    open({ limits: { maxInFlight: 2 } });
    const calls = [1, 2, 3, 4, 5].map((i) => pair.call(i));
    for (const { call } of calls) call.abandon();
    pair.pass(1);
    expect(sent()).toEqual([1, 2]);
    expect(counts()).toEqual([0, 0]);
  });

  it('send nothing of those that waited if their time ends at the same moment', () => {
    open({ limits: { maxInFlight: 2 } });
    pair.links.toClient.hold(); // the server refuses what is beyond its own limit
    for (const [i, timeoutMs] of [50, 50, 50, 50].entries()) pair.call(i, { timeoutMs });
    const survivor = pair.call('last');
    pair.pass(60);
    expect(sent()).toEqual([0, 1, 'last']);
    expect(survivor.sink.settled).toBe(false);
  });

  it('let others pass in their order, also one that comes just then', () => {
    open({ limits: { maxInFlight: 1 } });
    pair.links.toClient.hold();
    const first = pair.call(1);
    pair.call(2);
    first.call.abandon();
    pair.call(3);
    expect(counts()).toEqual([0, 2]);
    pair.pass(1);
    expect(sent()).toEqual([1, 2]);
  });

  it.each([0, 244, 400])('end no connection of which %i calls were answered before', (before) => {
    open();
    pair.serverOwner.serve = (call) => {
      if (call.body === 'answered') call.reply(1);
      if (call.body !== 'waits') call.ended();
    };
    for (let i = 0; i < before; i++) pair.call('answered');
    pair.pass(1);
    const calls = Array.from({ length: 700 }, () => pair.call('waits'));
    pair.flow();
    for (const { call } of calls) call.abandon();
    pair.pass(1);
    for (const call of pair.serverOwner.calls) call.ended();
    for (let i = 0; i < 600; i++) pair.call('answered');
    pair.pass(1);
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
    expect(counts()).toEqual([0, 0]);
  });

  it('leave no timer behind if the connection ends with them', () => {
    open({ limits: { maxInFlight: 1 } });
    const first = pair.call(1);
    const second = pair.call(2);
    first.call.abandon();
    pair.client.abort(new Fault({ status: 1006, message: 'gone' }));
    expect(second.sink.fault.sent).toBe('no');
  });
});

it('tells of calls that were never sent when the other side breaks the rules', () => {
  open({ limits: { maxInFlight: 1 } });
  const [first, queued] = [pair.call(1), pair.call(2)];
  pair.client.protocolError('nonsense');
  expect(first.sink.fault).toMatchObject({ status: 1003, message: 'nonsense' });
  expect(queued.sink.fault).toMatchObject({
    code: LocalCode.ConnectionLost,
    sent: 'no',
    cause: { status: 1003 },
  });
});

it('rejects with an overload fault beyond the queue, and says that nothing was sent', () => {
  open({ limits: { maxInFlight: 1, maxQueuedCalls: 2 } });
  for (let i = 0; i < 3; i++) pair.call(i);
  const { sink, call } = pair.call('too much');
  expect(sink.fault).toMatchObject({ status: 429, code: LocalCode.Overload, sent: 'no' });
  expect(sink.fault.message).toContain('maxQueuedCalls');
  expect([call.settled, call.wasSent]).toEqual([true, false]);
  expect(counts()).toEqual([1, 2]);
});

it('queues nothing if the queue is 0 long', () => {
  open({ limits: { maxInFlight: 1, maxQueuedCalls: 0 } });
  pair.call();
  expect(pair.call().sink.fault.code).toBe(LocalCode.Overload);
});

it('counts only calls that still wait against the queue', () => {
  open({ limits: { maxInFlight: 1, maxQueuedCalls: 2 } });
  pair.call('runs');
  for (let i = 0; i < 2; i++) pair.call(i).call.abandon();
  expect(pair.client.calls.queued).toBe(0);
  expect(pair.call('has a place').sink.settled).toBe(false);
});

it('never sends a queued call that was given up', () => {
  open({ limits: { maxInFlight: 1 } });
  pair.call('runs');
  const given = pair.call('given up');
  pair.call('sent');
  given.call.abandon();
  pair.flow();
  pair.serverOwner.call().reply(null);
  pair.serverOwner.call().ended();
  pair.flow();
  expect(served()).toEqual(['runs', 'sent']);
  expect(given.sink.settled).toBe(false);
});

it('settles an abandoned call with nobody, and counts its late answer', () => {
  open();
  const { sink, call } = pair.call();
  pair.flow();
  call.abandon();
  expect(counts()).toEqual([0, 0]);
  pair.serverOwner.call().reply('late');
  pair.flow();
  expect(sink.settled).toBe(false);
  expect(pair.client.lateAnswers).toBe(1);
});

it('runs out of time in the queue, unsent', () => {
  open({ limits: { maxInFlight: 1 } });
  pair.call('runs', { timeoutMs: 60_000 });
  const { sink } = pair.call('waits', { timeoutMs: 500, target: '/math/sum' });
  pair.clock.advance(499);
  expect(sink.settled).toBe(false);
  pair.clock.advance(1);
  expect(sink.fault).toMatchObject({
    status: 1005,
    code: LocalCode.CallTimeout,
    phase: 'queue',
    sent: 'no',
    message: '/math/sum timed out after 500 ms, waiting for a free slot of the server',
  });
});

it('runs out of time waiting for the answer, which is dropped and counted when it comes', () => {
  open();
  const { sink } = pair.call('x', { timeoutMs: 500 });
  pair.flow();
  pair.clock.advance(500);
  expect(sink.fault).toMatchObject({ phase: 'response', sent: 'unknown', code: LocalCode.CallTimeout });
  pair.serverOwner.call().reply('late');
  pair.flow();
  expect(sink.outcomes).toHaveLength(1);
  expect(pair.client.lateAnswers).toBe(1);
  expect(pair.client.state).toBe('open');
});

it('counts the time in the queue: a call does not start over when it is sent', () => {
  open({ limits: { maxInFlight: 1 } });
  const first = pair.call('first', { timeoutMs: 400 });
  const { sink } = pair.call('second', { timeoutMs: 500 });
  pair.clock.advance(400);
  expect(first.sink.fault.phase).toBe('response');
  pair.clock.advance(100);
  expect(sink.fault).toMatchObject({ phase: 'response', sent: 'unknown' });
});

it('settles once: a second answer under the same id is a late one', () => {
  open();
  const { sink, call } = pair.call();
  pair.links.toClient.inject([101, call.id, {}, 'first'], [101, call.id, {}, 'second']);
  pair.flow();
  expect(sink.outcome).toBe('first');
  expect(pair.client.lateAnswers).toBe(1);
});

it('ignores and counts answers to calls that were never made', () => {
  open();
  pair.links.toClient.inject(
    [101, 99, {}, 'x'],
    [101, 98, { status_code: 500 }, 'x'],
    [101, 4_294_967_295, {}, 1],
  );
  pair.flow();
  expect(pair.client.lateAnswers).toBe(3);
  expect(pair.client.state).toBe('open');
});

it('fails only the call whose body cannot be sent', () => {
  open();
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  const bad = pair.call(circular);
  const good = pair.call('fine');
  expect(bad.sink.fault).toMatchObject({ code: 'ERR_RAP_UNSERIALIZABLE' });
  expect(bad.call.wasSent).toBe(false);
  pair.flow();
  pair.serverOwner.call().reply('ok');
  pair.flow();
  expect(good.sink.outcome).toBe('ok');
});

it.each([
  ['too large a body', { body: Buffer.alloc(5000) }],
  ['too many values in a body', { body: Array.from({ length: 500 }, () => 0) }],
  ['too deep a body', { body: JSON.parse('['.repeat(60) + ']'.repeat(60)) as unknown }],
  ['too large a header', { header: { 'x-note': 'n'.repeat(700) } }],
  [
    'too many header entries',
    { header: Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`x${i}`, i])) },
  ],
  ['too long a header key', { header: { ['k'.repeat(60)]: 1 } }],
  ['too deep a header', { header: { x: [[[[[[1]]]]]] } }],
  ['a header key that no peer takes', { header: { constructor: 'x' } }],
])(
  'fails only the call with %s; the connection and the other calls live',
  (_, { body = null, header = {} }: { body?: unknown; header?: object }) => {
    open({
      limits: {
        maxFrameBytes: 4096,
        maxFrameBytesBeforeDeclare: 4096,
        maxItems: 400,
        maxDepth: 50,
        maxHeaderBytes: 512,
        maxHeaderEntries: 8,
        maxHeaderKeyBytes: 40,
      },
    });
    const running = pair.call('runs');
    pair.flow();
    const refused = pair.call(body, { header: { ...header, target: '/default/x' } });
    pair.flow();
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open']);
    pair.serverOwner.call(0).reply('answered');
    pair.flow();
    expect(running.sink.outcome).toBe('answered');
    expect(refused.sink.fault.sent ?? 'no').toBe('no');
  },
);

it('refuses calls while too many bytes wait to be sent, and takes them again when they are gone', () => {
  open({ limits: { sendBufferHardBytes: 100_000 } });
  pair.links.toServer.hold();
  pair.call(Buffer.alloc(120_000));
  const refused = pair.call('x');
  expect(refused.sink.fault).toMatchObject({ code: LocalCode.Overload, sent: 'no' });
  expect(refused.sink.fault.message).toContain('sendBufferHardBytes');
  pair.links.toServer.release();
  pair.flow();
  expect(pair.call('y').sink.settled).toBe(false);
});

it('refuses events, too, while too many bytes wait to be sent', () => {
  open({ limits: { sendBufferHardBytes: 100_000 } });
  pair.links.toServer.hold();
  const emit = (): RecordingSink => pair.emit(Buffer.alloc(60_000)).sink;
  expect([emit().settled, emit().settled]).toEqual([false, false]);
  const waiting = pair.links.client.pendingBytes;
  expect(emit().fault).toMatchObject({ code: LocalCode.Overload, sent: 'no' });
  expect(pair.links.client.pendingBytes).toBe(waiting);
});

it('works off a long queue, in order', () => {
  open({ limits: { maxInFlight: 10 } });
  pair.serverOwner.serve = (call) => {
    call.reply(call.body);
    call.ended();
  };
  const calls = Array.from({ length: 5000 }, (_, i) => pair.call(i));
  for (let i = 0; i < 20 && pair.client.calls.inFlight > 0; i++) pair.flow();
  expect(calls.every(({ sink }, i) => sink.outcome === i)).toBe(true);
  expect(served()).toEqual(Array.from({ length: 5000 }, (_, i) => i));
});

it('lets a sink start the next call from its outcome', () => {
  open({ limits: { maxInFlight: 1 } });
  pair.serverOwner.serve = (call) => {
    call.reply(call.body);
    call.ended();
  };
  let answered = 0;
  const next = (i: number): void =>
    void pair.client.call(requestOf(i), {
      resolve: () => {
        answered += 1;
        if (i < 20) next(i + 1);
      },
      reject: () => {},
    });
  next(1);
  pair.flow();
  expect(answered).toBe(20);
});

describe('when the connection is gone', () => {
  it('fails what was sent and what was not with the same reason, and tells which is which', () => {
    open({ limits: { maxInFlight: 2 } });
    const calls = [1, 2, 3, 4].map((i) => pair.call(i));
    pair.flow();
    pair.links.server.destroy();
    pair.flow();
    expect(calls.map(({ sink }) => sink.fault.sent)).toEqual(['unknown', 'unknown', 'no', 'no']);
    expect(new Set(calls.map(({ sink }) => sink.fault.message)).size).toBe(1);
    expect(calls[0]?.sink.fault).toBe(calls[1]?.sink.fault);
    expect(calls[2]?.sink.fault).toBe(calls[3]?.sink.fault);
    expect(counts()).toEqual([0, 0]);
  });

  it('rejects a later call at once, unsent', () => {
    open();
    pair.client.abort(new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone' }));
    const { sink, call } = pair.call();
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(call.settled).toBe(true);
    expect(counts()).toEqual([0, 0]);
  });

  it('rejects at once a call that a sink starts from its failure', () => {
    open();
    const retry = new RecordingSink();
    pair.client.call(requestOf('first'), {
      resolve: () => {},
      reject: () => void pair.client.call(requestOf('again'), retry),
    });
    pair.flow();
    pair.links.server.destroy();
    pair.flow();
    expect(retry.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(counts()).toEqual([0, 0]);
  });

  it('refuses an event', () => {
    open();
    pair.client.abort(new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone' }));
    expect(pair.emit().sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
  });
});

const events = (): unknown[] =>
  pair.links.toServer.frames.filter(([, , header]) => header.one_way === true).map(([, , , body]) => body);

/** A connection to a server that offers these extensions, which the test plays. */
function openTo(extensions: object, options?: PairOptions): void {
  pair = new PeerPair({ ...options, scripted: 'server' });
  pair.client.start();
  pair.links.toClient.inject([103, 3, {}, { conn_id: 'x', extensions }]);
  pair.flow();
}

describe('events', () => {
  it('share the slots of calls, wait in line with them, and keep their slots until their handlers have ended', () => {
    open({ limits: { maxInFlight: 2 } });
    pair.call('call');
    const sinks = [1, 2, 3].map((i) => pair.emit(i).sink);
    pair.call('later');
    pair.flow();
    expect(served()).toEqual(['call', 1]);
    expect(sinks.map(({ settled }) => settled)).toEqual([true, false, false]);
    expect(counts()).toEqual([1, 3]);

    pair.serverOwner.call(0).reply('free');
    pair.serverOwner.call(0).ended();
    pair.flow();
    expect(served()).toEqual(['call', 1, 2]);
    for (const i of [1, 2]) pair.serverOwner.call(i).ended();
    pair.pass(1);
    expect(served()).toEqual(['call', 1, 2, 3, 'later']);
    expect(sinks.map(({ outcome }) => outcome)).toEqual([null, null, null]);
    expect(pair.server.incoming.refused).toBe(0);
  });

  it('are all handled, however many there are at once', () => {
    open({ limits: { maxInFlight: 16 } });
    const sinks = Array.from({ length: 1000 }, (_, i) => pair.emit(i).sink);
    for (let ended = 0; ended < 1000; pair.pass(20)) {
      while (ended < pair.serverOwner.calls.length) pair.serverOwner.call(ended++).ended();
    }
    expect(served()).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(sinks.every(({ outcome }) => outcome === null)).toBe(true);
    expect(counts()).toEqual([0, 0]);
  });

  it('fail with the refusal of a server that takes less than the client thinks', () => {
    open({ limits: { maxInFlightTotal: 1 } });
    const [taken, refused] = [pair.emit(1).sink, pair.emit(2).sink];
    pair.flow();
    expect(taken.outcome).toBeNull();
    expect(refused.fault).toMatchObject({ status: 429 });
    expect(pair.links.toClient.frames.filter(([type]) => type === 101)).toHaveLength(2);
  });

  it('tell of their ends in one frame a turn, or every 32', () => {
    open();
    for (let i = 0; i < 40; i++) pair.emit(i);
    pair.flow();
    for (const call of pair.serverOwner.calls) call.ended();
    pair.pass(1);
    const ends = pair.links.toClient.frames.filter(([, , { target }]) => target === '/_event/event_end');
    expect(ends.map(([type, , , body]) => [type, body])).toEqual([
      [203, { count: 32 }],
      [203, { count: 8 }],
    ]);
  });

  it('reach the handler as one-way calls whose answers and errors go nowhere', () => {
    open();
    const { sink } = pair.emit('e');
    pair.flow();
    const call = pair.serverOwner.call();
    expect([call.oneWay, call.body]).toEqual([true, 'e']);
    call.reply('nobody');
    call.fail(new Fault({ status: 500, message: 'nobody' }), 'ServerError');
    call.ended();
    pair.flow();
    // the one answer says that it was taken
    expect(pair.links.toClient.frames.filter(([type]) => type === 101)).toEqual([[101, 5, {}, null]]);
    expect(sink.outcome).toBeNull();
    expect(pair.server.incoming.size).toBe(0);
  });

  it('that nobody takes in time fail, and are not cancelled', () => {
    open();
    pair.links.toClient.hold();
    const { sink } = pair.emit('e', { timeoutMs: 50 });
    pair.pass(50);
    expect(sink.fault).toMatchObject({ code: LocalCode.CallTimeout, phase: 'response', sent: 'unknown' });
    expect(pair.serverOwner.call().settled).toBe(false);
  });

  it('fail unsent if they wait when the connection is lost', () => {
    open({ limits: { maxInFlight: 1 } });
    const sinks = [1, 2].map((i) => pair.emit(i).sink);
    pair.links.server.destroy();
    pair.flow();
    expect(sinks.map(({ fault }) => fault.sent)).toEqual(['unknown', 'no']);
  });

  it('wait for the next connection if the server shuts down', () => {
    open({ limits: { maxInFlight: 1 } });
    const [, waiting] = [pair.emit(1), pair.emit(2)];
    pair.flow();
    pair.server.drain(1000);
    pair.flow();
    expect(pair.clientOwner.unsent).toEqual([waiting.event]);
    waiting.event.abandon();
  });

  it('free no more slots than they took, whatever the server says', () => {
    openTo({ one_way: {}, event_answer: {} }, { limits: { maxInFlight: 1 } });
    for (const count of [5, -1, NaN, 'x', undefined, null]) {
      pair.links.toClient.inject([203, 4, { target: '/_event/event_end' }, { count }]);
    }
    pair.flow();
    for (let i = 0; i < 3; i++) pair.emit(i);
    expect(events()).toEqual([0]);
    pair.links.toClient.inject([101, 5, {}, null]);
    pair.links.toClient.inject([203, 8, { target: '/_event/event_end' }, { count: 1.5 }]);
    pair.links.toClient.inject([203, 10, { target: '/_event/event_end' }, { count: Infinity }]);
    pair.flow();
    expect(events()).toEqual([0]);
    pair.links.toClient.inject([203, 6, { target: '/_event/event_end' }, { count: 1 }]);
    pair.flow();
    expect(events()).toEqual([0, 1]);
  });

  it('take no slot and complete when they are sent if the server knows one_way alone', () => {
    openTo({ one_way: {} }, { limits: { maxInFlight: 1 } });
    const sinks = [1, 2].map((i) => pair.emit(i).sink);
    expect(events()).toEqual([1, 2]);
    expect(sinks.map(({ outcome }) => outcome)).toEqual([undefined, undefined]);
    expect(counts()).toEqual([0, 0]);
  });

  it('are calls with an answer that nobody reads if the server knows no one_way', () => {
    openTo({}, { limits: { maxInFlight: 1 } });
    const [first, waiting] = [pair.emit('e').sink, pair.emit('f').sink];
    const [, id, header] = pair.links.toServer.frames.at(-1) as Frame;
    expect(header).toEqual({ target: '/default/x' });
    expect(counts()).toEqual([1, 1]);
    expect([first.outcome, waiting.settled]).toEqual([undefined, false]);
    pair.links.toClient.inject([101, id, { status_code: 500 }, 'x']);
    pair.flow();
    expect([first.outcome, waiting.outcome]).toEqual([undefined, undefined]);
    expect(counts()).toEqual([1, 0]);
    expect(pair.client.lateAnswers).toBe(0);
  });
});
