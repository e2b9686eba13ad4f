import 'reflect-metadata';
import type { Socket } from 'node:net';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ChannelLifecycleError,
  ChannelPattern,
  ConnectionLostError,
  RapChannel,
  RapClient,
  type RapContext,
} from '../../lib/index.js';
import { eventually, rejection, within } from '../helpers/async.js';
import {
  answerDeclareWith,
  declare,
  declared,
  drop,
  fence,
  msg,
  openWith,
} from '../helpers/channel/channel-frames.js';
import { BackgroundLoad, BackgroundController } from '../helpers/background-load.js';
import { type RawSocket, scriptedServer } from '../helpers/raw-socket.js';
import { idle } from '../helpers/streams.js';
import { gate, probe, scope, type ServeOptions, serveWithClient } from '../helpers/stream-scope.js';

/** A raw client with all extensions, until the test ends. */
async function connect(port: number): Promise<RawSocket> {
  const raw = await openWith(port);
  scope.defer(() => raw.destroy());
  return raw;
}

/** What the handler's read, write and closed came to, by name. */
let met: Record<string, unknown> = {};
beforeEach(() => void (met = {}));

@Controller()
class LossController {
  /** Has a read and a write that wait when the client goes, and tells what became of each. */
  @ChannelPattern('waiting')
  async waiting(@Payload() channel: RapChannel<unknown, Buffer>, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await channel.read();
    const writing = (async () => {
      for (let i = 0; i < 1000; i++) {
        await channel.write(Buffer.alloc(1024));
        probe.produced += 1;
      }
    })();
    const outcomes = await Promise.allSettled([channel.read(), writing, channel.closed]);
    met = Object.fromEntries(
      ['read', 'write', 'closed'].map((name, i) => {
        const outcome = outcomes[i];
        return [name, outcome?.status === 'rejected' ? outcome.reason : outcome?.value];
      }),
    );
    met['isClosed'] = channel.isClosed;
    met['aborted'] = [ctx.signal.aborted, channel.signal.aborted];
    met['end'] = await rejection(channel.end());
    met['readAfter'] = await channel.read().catch((error: unknown) => error);
    probe.ended += 1;
  }

  @ChannelPattern('hold')
  async hold(@Payload() _: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await gate.opened;
    probe.ended += 1;
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }
}

const start = (options?: ServeOptions) =>
  serveWithClient([LossController, BackgroundController], options, { reconnect: false });

/** A handler whose read and write wait. */
async function openWaiting(raw: RawSocket): Promise<void> {
  raw.send(declare(5, 'waiting'), msg(5, 'go'));
  await eventually('the window is full', () => probe.produced > 200);
  await fence(raw);
}

describe('a client that goes without DROP', () => {
  it.each(['FIN', 'RST'])('ends its channels at once, with the same error everywhere: %s', async (how) => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    const raw = await connect(test.port);
    await openWaiting(raw);
    if (how === 'FIN') raw.socket.end();
    else raw.socket.resetAndDestroy();
    await eventually('the handler has ended', () => probe.ended === 1);
    for (const name of ['read', 'write', 'closed', 'end', 'readAfter']) {
      expect(met[name]).toBeInstanceOf(ConnectionLostError);
      expect(met[name]).toMatchObject({ message: expect.stringContaining('the client is gone') });
    }
    expect(met).toMatchObject({ isClosed: true, aborted: [true, true] });
    await background.stop();
    await idle(test);
  });

  it('has its channels open if it says nothing more, until it stops to answer', async () => {
    const time = scope.stopTime();
    const test = await start({ keepAlive: { intervalMs: 60, timeoutMs: 40, maxMissed: 2 } });
    const raw = await connect(test.port);
    raw.socket.pause();
    raw.send(declare(5, 'waiting'), msg(5, 'go'));
    await eventually('the handler runs', () => probe.produced > 200);
    await test.mine.call('echo', 1); // what waits now, waits for room
    expect(probe.ended).toBe(0);
    await eventually('the handler has ended', () => {
      time.pass(20);
      return probe.ended === 1;
    });
    for (const name of ['read', 'write', 'closed']) {
      expect(met[name]).toBeInstanceOf(ConnectionLostError);
      expect(met[name]).toMatchObject({ message: expect.stringContaining('recv pong timeout') });
    }
  });

  it('keeps the slots of handlers that do not listen, until they have ended', async () => {
    const test = await start();
    const raw = await connect(test.port);
    raw.send(declare(5, 'hold'), declare(7, 'hold'));
    await eventually('both run', () => probe.started === 2);
    raw.destroy();
    await eventually('both signals are aborted', () => probe.aborted === 2);
    expect(await test.mine.call('echo', 1)).toBe(1);
    expect(test.server.stats().inFlight).toBe(2);
    gate.open();
    await idle(test);
    expect(probe.ended).toBe(2);
  });
});

describe('a client that drops', () => {
  it('ends its channel in order, and the handler is told to stop', async () => {
    const test = await start();
    const raw = await connect(test.port);
    await openWaiting(raw);
    raw.send(drop(5));
    await eventually('the handler has ended', () => probe.ended === 1);
    expect(met['read']).toBeUndefined();
    expect(met['closed']).toBeUndefined();
    expect(met['write']).toBeInstanceOf(ChannelLifecycleError);
    expect(met).toMatchObject({ isClosed: true, aborted: [true, true] });
    await fence(raw, 5);
    expect(await fence(raw, 5)).toEqual([]);
  });

  it('with an error hands that to everything that waits', async () => {
    const test = await start();
    const raw = await connect(test.port);
    await openWaiting(raw);
    raw.send([102, 5, { channel_life_cycle: 'DROP', status_code: 301 }, ['ValueError', 'as Python says it']]);
    await eventually('the handler has ended', () => probe.ended === 1);
    for (const name of ['read', 'write', 'closed', 'readAfter']) {
      expect(met[name]).toMatchObject({
        status: 301,
        remoteName: 'ValueError',
        message: 'as Python says it',
      });
    }
  });
});

describe('a server that is lost', () => {
  /** A client with a read, a write and an end that wait, and what becomes of them. */
  async function waitingClient(
    test: { port: number },
    leave: (peer: RawSocket) => void,
  ): Promise<PromiseSettledResult<unknown>[]> {
    const mine = new RapClient({ host: '127.0.0.1', port: test.port, reconnect: false });
    scope.defer(() => mine.close());
    const channel = await mine.channel<unknown, Buffer>('anything');
    let written = 0;
    const writing = (async () => {
      for (;;) {
        await channel.write(Buffer.alloc(1024));
        written += 1;
      }
    })();
    const outcomes = Promise.allSettled([channel.read(), writing, channel.closed]);
    await eventually('the window is full', () => written > 200);
    const [peer] = peers;
    leave(peer as RawSocket);
    const result = await within('everything has ended', outcomes);
    expect(channel.isClosed).toBe(true);
    expect(channel.signal.aborted).toBe(true);
    expect(mine.stats()).toMatchObject({ channels: 0, inFlight: 0 });
    return result;
  }

  let peers: RawSocket[] = [];
  async function server(): Promise<{ port: number }> {
    const scripted = await scriptedServer(async (peer) => {
      await answerDeclareWith(peer);
      const frame = await peer.next((it) => it[2]['channel_life_cycle'] === 'DECLARE');
      peer.send(declared(frame[1]));
    });
    scope.defer(() => scripted.close());
    ({ peers } = scripted);
    return scripted;
  }

  it.each([
    ['FIN', (peer: RawSocket) => peer.socket.end()],
    ['RST', (peer: RawSocket) => peer.socket.resetAndDestroy()],
    ['CLOSE', (peer: RawSocket) => peer.send([203, 4, { target: '/_event/CLOSE' }, 'going away'])],
  ])('ends the channel with the same error everywhere: %s', async (_, leave) => {
    const test = await server();
    for (const outcome of await waitingClient(test, leave)) {
      expect(outcome.status).toBe('rejected');
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(ConnectionLostError);
    }
  });

  it('is no reason to open the channel anew', async () => {
    const test = await server();
    await waitingClient(test, (peer) => peer.destroy());
    expect(peers).toHaveLength(1);
  });
});

describe('a connection that the client has lost', () => {
  it('ends the channels on both sides; those of others go on', async () => {
    const test = await start();
    const background = await BackgroundLoad.of(test);
    const open = await Promise.all(Array.from({ length: 20 }, () => test.mine.channel('hold')));
    await eventually('all run', () => probe.started === 20);
    test.mine.unwrap<Socket>().destroy();
    const errors = await Promise.all(open.map((channel) => rejection(channel.closed)));
    expect(errors.every((error) => error instanceof ConnectionLostError)).toBe(true);
    await eventually('all signals are aborted', () => probe.aborted === 20);
    gate.open();
    await background.stop();
    await idle(test);
  });
});
