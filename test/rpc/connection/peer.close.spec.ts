import { Fault, LocalCode } from '../../../lib/protocol/fault.js';
import { PeerPair, RecordingSink, type PairOptions } from '../../helpers/peer-pair.js';

let pair: PeerPair;

function open(options?: PairOptions): PeerPair {
  pair = new PeerPair(options).open();
  return pair;
}

afterEach(() => pair.end());

const gone = (): Fault =>
  new Fault({ status: 1006, code: LocalCode.ConnectionLost, message: 'gone', sent: 'unknown' });

const timers = (): number => pair.clock.pending - pair.lanes.pending;

describe('abort', () => {
  it('may be called again, and the first reason stands', () => {
    open();
    const reason = gone();
    pair.client.abort(reason);
    pair.client.abort(new Fault({ status: 500, message: 'other' }));
    pair.client.close('other');
    pair.flow();
    expect(pair.clientOwner.reason).toBe(reason);
    expect(pair.clientOwner.events).toEqual(['open', 'close']);
  });

  it('fails calls and pings with the very same object, and leaves no timer', () => {
    open();
    const calls = Array.from({ length: 5 }, (_, i) => pair.call(i));
    const ping = new RecordingSink();
    pair.client.measurePing(ping);
    const reason = gone();
    pair.client.abort(reason);
    expect([...calls.map(({ sink }) => sink.fault), ping.fault].every((fault) => fault === reason)).toBe(
      true,
    );
    expect([pair.client.calls.inFlight, pair.client.calls.queued]).toEqual([0, 0]);
    pair.server.abort(reason);
    expect(timers()).toBe(0);
  });

  it('aborts what runs for the peer with the same object, and sends nothing more', () => {
    open();
    pair.call(1);
    pair.call(2);
    pair.flow();
    const signals = pair.serverOwner.calls.map(({ signal }) => signal);
    const before = pair.links.toClient.frames.length;
    const reason = gone();
    pair.server.abort(reason);
    expect(signals.map((signal) => signal.reason as unknown)).toEqual([reason, reason]);
    expect(signals[0]?.reason).toBe(reason);
    for (const call of pair.serverOwner.calls) call.reply('too late');
    expect(pair.links.toClient.frames).toHaveLength(before);
    // the slots are the handlers' until they end
    expect(pair.load.running).toBe(2);
  });

  it('tells its owner after everything pending has failed', () => {
    open();
    const order: string[] = [];
    pair.client.call(
      { target: '/default/x', header: { target: '/default/x' }, body: 1, timeoutMs: 100 },
      { resolve: () => {}, reject: () => order.push('call') },
    );
    pair.clientOwner.onClose = () => {
      order.push('owner');
      pair.clientOwner.events.push('close');
    };
    pair.client.abort(gone());
    expect(order).toEqual(['call', 'owner']);
  });

  it('may come from within a call that it fails', () => {
    open();
    const outcomes: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      pair.client.call(
        { target: '/default/x', header: { target: '/default/x' }, body: name, timeoutMs: 100 },
        {
          resolve: () => {},
          reject: () => {
            outcomes.push(name);
            pair.client.abort(gone());
            pair.client.close('again');
          },
        },
      );
    }
    pair.client.abort(gone());
    expect(outcomes).toEqual(['a', 'b', 'c']);
    expect(pair.clientOwner.events).toEqual(['open', 'close']);
  });

  it('comes before the handshake, too', () => {
    pair = new PeerPair();
    pair.client.start();
    pair.server.start();
    pair.client.abort(gone());
    pair.flow();
    expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
    expect(timers()).toBe(0);
  });
});

describe('close', () => {
  it('of a server says CLOSE and the reason, after everything that was sent before', () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    pair.serverOwner.call().reply('just in time');
    pair.server.close('maintenance');
    pair.flow();
    expect(sink.outcome).toBe('just in time');
    expect(pair.clientOwner.reason?.message).toBe('the server closed the connection: maintenance');
    expect(pair.serverOwner.reason?.message).toBe('the connection was closed: maintenance');
    expect(timers()).toBe(0);
  });

  it('of a client says nothing but the end', () => {
    open();
    const { sink } = pair.call();
    pair.client.close('the client was closed');
    pair.flow();
    expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
    expect(pair.links.toServer.frames.map(([type]) => type)).toEqual([103, 101]);
    expect(pair.server.state).toBe('closed');
  });

  it('may be called again', () => {
    open();
    for (let i = 0; i < 3; i++) pair.server.close('once');
    pair.flow();
    expect(pair.links.toClient.to('/_event/CLOSE')).toHaveLength(1);
    expect(pair.serverOwner.events).toEqual(['open', 'close']);
  });
});

describe('the wire', () => {
  it.each([
    ['no msgpack', Buffer.from([0xc1])],
    ['no array of four', Buffer.from([0x93, 0x65, 0x05, 0x80])],
    ['an unknown type', Buffer.from([0x94, 0x07, 0x05, 0x80, 0xc0])],
    ['an id of 0', Buffer.from([0x94, 0x65, 0x00, 0x80, 0xc0])],
    ['an extension type', Buffer.from([0x94, 0x65, 0x05, 0x80, 0xd4, 0x01, 0x00])],
  ])('broken by the client with %s: CLOSE, and everything ends', (_, bytes) => {
    open();
    pair.call();
    pair.flow();
    pair.links.toServer.inject(bytes);
    pair.flow();
    expect(pair.serverOwner.reason?.status).toBe(1003);
    expect(pair.links.toClient.to('/_event/CLOSE').map(([, , , body]) => body)).toEqual([
      pair.serverOwner.reason?.message,
    ]);
    expect(pair.serverOwner.call().settled).toBe(true);
    expect(pair.client.state).toBe('closed');
    expect(timers()).toBe(0);
  });

  it('broken by the server: the client fails its calls and goes without a word', () => {
    open();
    const { sink } = pair.call();
    pair.flow();
    pair.links.toClient.inject(Buffer.from([0xc1]));
    pair.flow();
    expect(sink.fault.status).toBe(1003);
    expect(pair.clientOwner.reason?.status).toBe(1003);
    expect(pair.links.toServer.frames.map(([type]) => type)).toEqual([103, 101]);
    expect(pair.server.state).toBe('closed');
  });

  it('broken after good frames: those are served first', () => {
    open();
    pair.links.toServer.inject([101, 7, { target: '/default/x' }, 'good'], Buffer.from([0xc1]));
    pair.flow();
    expect(pair.serverOwner.call().body).toBe('good');
    expect(pair.server.state).toBe('closed');
  });

  it('handles no frame after the end', () => {
    open();
    pair.links.toServer.inject(
      [103, 5, { target: '/_event/DECLARE' }, {}],
      [101, 7, { target: '/default/x' }, 'after'],
      [103, 9, { target: '/_event/ping' }, {}],
    );
    pair.flow();
    expect(pair.serverOwner.calls).toEqual([]);
    expect(pair.links.toClient.frames.filter(([type, id]) => type === 103 && id === 9)).toEqual([]);
  });

  it.each(['client', 'server'] as const)(
    'cut at the %s: both learn of it, and what was pending fails',
    (side) => {
      open();
      const { sink } = pair.call();
      pair.flow();
      pair.links[side].destroy();
      pair.flow();
      expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed']);
      expect(sink.fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'unknown' });
      expect(pair.serverOwner.call().signal.aborted).toBe(true);
      expect(timers()).toBe(0);
    },
  );
});

describe('a peer that does not read', () => {
  const LIMITS = { sendBufferSoftBytes: 10_000, sendBufferHardBytes: 50_000 };

  it('gets no further request handled beyond the soft limit, until it has read everything', () => {
    open({ limits: LIMITS });
    pair.serverOwner.serve = (call) => {
      call.reply(Buffer.alloc(6_000));
      call.ended();
    };
    pair.links.toClient.hold();
    const calls = Array.from({ length: 20 }, (_, i) => pair.call(i));
    pair.flow();
    expect(pair.serverOwner.calls).toHaveLength(2);
    expect(pair.links.server.paused).toBe(true);
    pair.links.toClient.release();
    pair.flow();
    expect(calls.every(({ sink }) => sink.settled)).toBe(true);
    expect(pair.links.server.paused).toBe(false);
  });

  it('is dropped beyond the hard limit of what it has not asked for, and its handlers are told', () => {
    open({ limits: LIMITS });
    pair.call();
    pair.flow();
    pair.links.toClient.hold();
    const { signal } = pair.serverOwner.call();
    const event = (): void => pair.server.sendEvent('/_event/news', Buffer.alloc(6_000));
    for (let i = 0; i < 9; i++) event();
    expect([pair.server.state, pair.links.server.paused]).toEqual(['open', true]);
    event();
    expect(pair.server.state).toBe('closed');
    expect(pair.serverOwner.reason?.message).toContain('sendBufferHardBytes');
    expect(signal.aborted).toBe(true);
    expect(timers()).toBeLessThanOrEqual(1); // the client's own keep-alive
  });

  it('is kept beyond the hard limit while its answers wait, and gets them all', () => {
    open({ limits: LIMITS });
    const calls = Array.from({ length: 15 }, (_, i) => pair.call(i));
    pair.flow();
    pair.links.toClient.hold();
    for (const call of pair.serverOwner.calls) {
      call.reply(Buffer.alloc(6_000));
      call.ended();
    }
    expect(pair.links.server.pendingBytes).toBeGreaterThan(LIMITS.sendBufferHardBytes);
    for (let i = 0; i < 5; i++) pair.pass(1000);
    expect(pair.server.state).toBe('open');
    pair.links.toClient.release();
    pair.flow();
    expect(calls.every(({ sink }) => sink.settled)).toBe(true);
    pair.pass(1000);
    expect(pair.server.state).toBe('open');
  });

  it('does not stop a client from reading, however much the client has to send', () => {
    open({ limits: LIMITS });
    pair.links.toServer.hold();
    for (let i = 0; i < 7; i++) pair.call(Buffer.alloc(6_000));
    pair.flow();
    expect(pair.links.client.paused).toBe(false);
    pair.links.toClient.inject([203, 4, { target: '/_event/ping' }, '']);
    pair.flow();
    expect(pair.links.toServer.to('/_event/ping')).toHaveLength(1);
  });
});
