import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { ClientPeer } from '../../lib/rpc/client/client-peer.js';
import { RecordingSink, requestOf } from '../helpers/peer-pair.js';
import { fresh, world } from './connection-world.js';

describe('shutdown', () => {
  it('moves later calls to a new connection, while the old one finishes', async () => {
    const first = await (fresh(), world.open());
    const old = world.connection.peer as ClientPeer;
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
    const old = world.connection.peer as ClientPeer;
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

  it('fails the calls that waited for a slot if no connection takes them', async () => {
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
    const old = world.connection.peer as ClientPeer;
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
    const old = world.connection.peer as ClientPeer;
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

  it('ends, too, if the last call runs out of time', async () => {
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

  it('ends, too, if the last call is given up', async () => {
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

  it('is done at once if nothing is open', async () => {
    await fresh().connection.drain();
    expect(world.statuses).toEqual([]);
  });
});
