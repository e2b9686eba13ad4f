import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import type { RapSession } from '../../lib/index.js';
import { eventually, rejection, turn } from '../helpers/async.js';
import { call, declare, msg, openWith } from '../helpers/channel/channel-frames.js';
import type { RawFrame } from '../helpers/raw-socket.js';
import { collect, idle } from '../helpers/streams.js';
import { events, sessions, start } from './session-handlers.js';
import { gate, probe, scope } from '../helpers/stream-scope.js';

describe('withSession()', () => {
  it('puts every kind of call inside into one session', async () => {
    const { mine } = await start();
    const id = await mine.withSession(async (session) => {
      expect(await mine.call('whoami')).toBe(session.id);
      expect(await collect(mine.stream('ids', 2))).toEqual([session.id, session.id]);
      expect(await firstValueFrom(mine.send('whoami', {}))).toBe(session.id);
      expect(await lastValueFrom(mine.send('ids', 2).pipe(toArray()))).toEqual([session.id, session.id]);
      const channel = await mine.channel<string, string>('idChannel');
      await channel.write('?');
      expect(await channel.read()).toBe(session.id);
      channel.close();
      await lastValueFrom(mine.emit('event', 1), { defaultValue: undefined });
      await eventually('the event', () => events.length === 2);
      expect(events).toEqual([1, session.id]);
      return session.id;
    });
    expect(id).toMatch(/^[\w-]{8,}$/);
    expect(new Set(sessions).size).toBe(1);
    expect(await mine.call('whoami')).toBeNull();
  });

  it('holds at any depth: after awaits, in timers, in functions that know nothing of it', async () => {
    const { mine } = await start();
    const helper = async (): Promise<unknown> => {
      await turn();
      await new Promise((resolve) => setTimeout(resolve, 1));
      return mine.call('whoami');
    };
    await mine.withSession(async (session) => {
      await turn();
      const inTimer = new Promise((resolve) => setTimeout(() => resolve(mine.call('whoami')), 1));
      const inMicrotask = Promise.resolve().then(() => mine.call('whoami'));
      const all = await Promise.all([helper(), helper(), inTimer, inMicrotask, mine.call('whoami')]);
      expect(new Set(all)).toEqual(new Set([session.id]));
    });
  });

  it('gives back what its work returns, and its error', async () => {
    const { mine } = await start();
    expect(await mine.withSession(() => 42)).toBe(42);
    const boom = new Error('boom');
    expect(await rejection(mine.withSession(() => Promise.reject(boom)))).toBe(boom);
    expect(
      await rejection(
        mine.withSession(() => {
          throw boom;
        }),
      ),
    ).toBe(boom);
    expect(await mine.call('whoami')).toBeNull();
  });

  it('nests: inside holds the inner one, and after it the outer one', async () => {
    const { mine } = await start();
    await mine.withSession(async (outer) => {
      expect(await mine.call('whoami')).toBe(outer.id);
      await mine.withSession(async (inner) => {
        expect(inner.id).not.toBe(outer.id);
        expect(await mine.call('whoami')).toBe(inner.id);
        expect(await outer.call('whoami')).toBe(outer.id);
      });
      expect(await mine.call('whoami')).toBe(outer.id);
    });
  });

  it('keeps parallel ones apart', async () => {
    const { mine } = await start();
    const rounds = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        mine.withSession(async (session) => {
          await mine.call('login', `user ${i}`);
          for (let j = 0; j < 5; j++) {
            expect(await mine.call('whoami')).toBe(session.id);
            expect(await mine.call('user')).toBe(`user ${i}`);
            if (j % 2) await turn();
          }
          return session.id;
        }),
      ),
    );
    expect(new Set(rounds).size).toBe(20);
  });

  it('leaves calls alone that run beside it', async () => {
    const { mine } = await start();
    let outside: unknown;
    const inside = mine.withSession(async () => {
      await gate.opened;
      return mine.call('whoami');
    });
    outside = await mine.call('whoami');
    gate.open();
    expect(outside).toBeNull();
    expect(await inside).not.toBeNull();
  });

  it('lets a call go on that nobody awaited, in the session it began in', async () => {
    const { mine } = await start();
    let late: Promise<unknown> | undefined;
    const id = await mine.withSession(async (session) => {
      late = mine.call('gated');
      await mine.call('whoami');
      return session.id;
    });
    gate.open();
    expect(await late).toBe(id);
  });
});

describe('openSession()', () => {
  it('is explicit: only what goes through it belongs to it', async () => {
    const { mine } = await start();
    const session = await mine.openSession();
    expect(await session.call('whoami')).toBe(session.id);
    expect(await mine.call('whoami')).toBeNull();
    expect(await mine.call('whoami', undefined, { session })).toBe(session.id);
    expect(await collect(session.stream('ids', 2))).toEqual([session.id, session.id]);
    expect(await collect(mine.stream('ids', 1, { session }))).toEqual([session.id]);
    const channel = await session.channel<string, string>('idChannel', { metadata: { a: 1 } });
    await channel.write('?');
    expect([await channel.read(), channel.metadata]).toEqual([session.id, { a: 1 }]);
    channel.close();
    session.close();
  });

  it('wins over the session around it', async () => {
    const { mine } = await start();
    const explicit = await mine.openSession();
    await mine.withSession(async () => {
      expect(await explicit.call('whoami')).toBe(explicit.id);
      expect(await mine.call('whoami', {}, { session: explicit })).toBe(explicit.id);
      expect(await collect(explicit.stream('ids', 1))).toEqual([explicit.id]);
    });
    explicit.close();
  });

  it('takes the other options of a call', async () => {
    const { mine } = await start();
    const session = await mine.openSession();
    expect(await rejection(session.call('gated', {}, { timeoutMs: 20 }))).toMatchObject({
      phase: 'response',
    });
    await session.call('whoami', {}, { header: { trace: 'x' } });
    gate.open();
    session.close();
  });

  it('ends with `await using`', async () => {
    const { mine } = await start();
    let kept: RapSession | undefined;
    {
      await using session = await mine.openSession();
      expect(await session.call('login', 'me')).toBe(session.id);
      await session.call('whoami');
      kept = session;
    }
    await eventually('it is closed on the server', () => sessions[0]?.signal.aborted);
    expect((await rejection(kept.call('whoami'))).message).toBe('the session is closed');
  });
});

describe('session.execute()', () => {
  it('gives a value if the function answers with one, and a stream if it streams', async () => {
    const { mine } = await start();
    const session = await mine.openSession();
    expect(await session.execute('whoami')).toBe(session.id);
    const items = await session.execute<string>('ids', 3);
    expect(await collect(items as AsyncIterable<string>)).toEqual([session.id, session.id, session.id]);
    const none = await session.execute<string>('ids', 0);
    expect(await collect(none as AsyncIterable<string>)).toEqual([]);
    expect(await rejection(session.execute('nope'))).toMatchObject({ status: 404 });
    session.close();
  });

  it('cancels the stream when its loop is left', async () => {
    const { mine, server } = await start();
    const session = await mine.openSession();
    const items = (await session.execute('ids', 1e9)) as AsyncIterable<string>;
    for await (const id of items) {
      expect(id).toBe(session.id);
      break;
    }
    await idle({ server });
    session.close();
  });
});

describe('ctx.session', () => {
  it('is the same object for every call, its state too', async () => {
    const { mine } = await start();
    await mine.withSession(async () => {
      await mine.call('whoami');
      await collect(mine.stream('ids', 1));
      const channel = await mine.channel<string, string>('idChannel');
      await channel.write('?');
      await channel.read();
      channel.close();
      await mine.call('login', 'someone');
      expect(await mine.call('user')).toBe('someone');
    });
    const [first] = sessions;
    expect(sessions).toHaveLength(3);
    expect(sessions.every((session) => session === first)).toBe(true);
    expect(first?.state).toBe(sessions[1]?.state);
  });

  it('is undefined without a session', async () => {
    const { mine } = await start();
    await mine.call('whoami');
    expect(sessions).toEqual([undefined]);
  });

  it('ends when the client closes the session: its signal is aborted, its state is gone', async () => {
    const { mine } = await start();
    const session = await mine.openSession();
    await session.call('login', 'me');
    const waiting = session.call('untilClosed');
    await eventually('it waits', () => sessions.length === 1);
    expect(sessions[0]?.signal.aborted).toBe(false);
    session.close();
    session.close();
    expect(await waiting).toBe('closed');
    expect(sessions[0]?.signal.aborted).toBe(true);
    const again = await mine.openSession();
    expect(await again.call('user')).toBeNull();
    again.close();
  });

  it('ends with its connection', async () => {
    const test = await start();
    const client = test.client({ reconnect: false });
    const session = await client.openSession();
    await session.call('whoami');
    client.close();
    await eventually('its signal is aborted', () => sessions[0]?.signal.aborted);
    expect(sessions[0]?.signal.reason).toBeInstanceOf(Error);
  });

  it('stays the same object in a handler that outlives the session', async () => {
    const { mine } = await start();
    const session = await mine.openSession();
    const waiting = session.call('looksTwice', true);
    await eventually('it runs', () => probe.started === 1);
    session.close();
    await eventually('it is closed', () => sessions[0]?.signal.aborted);
    gate.open();
    await waiting;
    expect(sessions[1] === sessions[0]).toBe(true);
  });

  it('that is closed is not opened again by a handler that looks late', async () => {
    const test = await start({ limits: { maxSessions: 2 } });
    const calls = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const session = await test.mine.openSession();
        return { session, calling: session.call('looksTwice', false).catch(() => {}) };
      }),
    );
    await eventually('all run', () => probe.started === 4);
    for (const { session } of calls) session.close();
    await test.mine.call('untouched', 1);
    gate.open();
    await Promise.all(calls.map(({ calling }) => calling));
    // the places are free for sessions that are open
    expect(await test.mine.withSession(() => test.mine.call('login', 'me'))).toEqual(expect.any(String));
  });

  it('that is closed while its call is on the way to the handler does not come back', async () => {
    const test = await start({ limits: { maxSessions: 1 } });
    const raw = await openWith(test.port);
    const close: RawFrame = [103, 9, { target: '/_event/session_close' }, { session_id: 'a' }];
    raw.send(declare(5, 'ids', {}, { session_id: 'a' }), msg(5, 2), close);
    expect((await raw.answer(5))[2]).toEqual({ channel_life_cycle: 'DECLARE' });
    for (const body of ['a', 'a', null]) expect((await raw.answer(5))[3]).toBe(body);
    expect(sessions[0]?.signal.aborted).toBe(true);
    // its place is free
    raw.send(call(11, 'login', 'me', { session_id: 'b' }));
    expect((await raw.answer(11))[3]).toBe('b');
    raw.destroy();
  });

  it('of two clients with the same id is not the same', async () => {
    const test = await start();
    const [a, b] = await Promise.all([openWith(test.port), openWith(test.port)]);
    scope.defer(() => [a.destroy(), b.destroy()]);
    a.send(call(5, 'login', 'a', { session_id: 'same' }));
    b.send(call(5, 'login', 'b', { session_id: 'same' }));
    await Promise.all([a.answer(5), b.answer(5)]);
    a.send(call(7, 'user', null, { session_id: 'same' }));
    b.send(call(7, 'user', null, { session_id: 'same' }));
    expect([(await a.answer(7))[3], (await b.answer(7))[3]]).toEqual(['a', 'b']);
  });

  it('of two clients do not mix, implicitly or explicitly', async () => {
    const test = await start();
    const other = test.client();
    await test.mine.withSession(async (mineSession) => {
      expect(await other.call('whoami')).toBeNull();
      await other.withSession(async (otherSession) => {
        expect(await other.call('whoami')).toBe(otherSession.id);
        expect(await otherSession.call('whoami')).toBe(otherSession.id);
        expect(await mineSession.call('whoami')).toBe(mineSession.id);
      });
    });
  });

  it('of one client is refused by another, in words that say so', async () => {
    const test = await start();
    const other = test.client();
    const session = await test.mine.openSession();
    for (const failing of [
      other.call('whoami', {}, { session }),
      collect(other.stream('ids', 1, { session })),
      other.channel('idChannel', { session }),
    ]) {
      expect(await rejection(failing)).toMatchObject({ message: 'the session belongs to another client' });
    }
    expect(sessions).toEqual([]);
    session.close();
  });

  it('of one client holds inside a session of another', async () => {
    const test = await start();
    const other = test.client();
    await test.mine.withSession((mineSession) =>
      other.withSession(async (otherSession) => {
        expect(await other.call('whoami')).toBe(otherSession.id);
        expect(await test.mine.call('whoami')).toBe(mineSession.id);
      }),
    );
  });

  it('is not that of the caller in calls that its handler makes', async () => {
    const back = await start();
    @Controller()
    class FrontController {
      @MessagePattern('front')
      front(): Promise<unknown> {
        return back.mine.call('whoami');
      }
    }
    const front = await scope.serve([FrontController]);
    const client = front.client();
    expect(await client.withSession(() => client.call('front'))).toBeNull();
    expect(await back.mine.withSession(() => client.call('front'))).toBeNull();
  });
});
