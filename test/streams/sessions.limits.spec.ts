import 'reflect-metadata';
import type { Socket } from 'node:net';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { ConnectionLostError, RapClient, TooManyRequestsError } from '../../lib/index.js';
import { eventually, rejection, turn } from '../helpers/async.js';
import { answerDeclareWith, call, fence, openWith } from '../helpers/channel/channel-frames.js';
import { answerDeclare, type RawFrame, scriptedServer } from '../helpers/raw-socket.js';
import { collect } from '../helpers/streams.js';
import { events, sessions, start } from './session-handlers.js';
import { gate, probe, scope } from '../helpers/stream-scope.js';

describe('limits', () => {
  it('bound the sessions of a connection, for handlers that look at them', async () => {
    const test = await start({ limits: { maxSessions: 3 } });
    const open = await Promise.all(Array.from({ length: 3 }, () => test.mine.openSession()));
    for (const session of open) await session.call('login', 'x');
    const fourth = await test.mine.openSession();
    const error = await rejection(fourth.call('whoami'));
    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error.message).toContain('3');
    expect(await fourth.call('untouched', 1)).toBe(1);
    expect(await open[0]?.call('user')).toBe('x');
    expect(await test.client().withSession(() => 'others')).toBe('others');
    open[1]?.close();
    expect(await fourth.call('whoami')).toBe(fourth.id);
  });

  it('refuse an id that is none', async () => {
    const test = await start();
    const raw = await openWith(test.port);
    scope.defer(() => raw.destroy());
    const bad = ['', 'x'.repeat(129), 5, null, ['a'], {}];
    raw.send(...bad.map((session_id, i) => call(5 + 2 * i, 'whoami', {}, { session_id })));
    for (let i = 0; i < bad.length; i++) {
      const answer = await raw.answer(5 + 2 * i);
      expect([answer[0], answer[2]['status_code']]).toEqual([101, 1003]);
    }
    raw.send([103, 101, { target: '/_event/session_close' }, { session_id: {} }]);
    raw.send([103, 103, { target: '/_event/session_close' }, 'nonsense']);
    raw.send([103, 105, { target: '/_event/session_close' }, null]);
    await fence(raw);
    expect(raw.closed).toBe(false);
  });

  it('let sessions come and go without end', async () => {
    const test = await start({ limits: { maxSessions: 4 } });
    for (let i = 0; i < 300; i++) {
      await test.mine.withSession(() => test.mine.call('login', i));
    }
    expect(await test.mine.withSession(() => test.mine.call('user'))).toBeNull();
  });
});

describe('a lost connection', () => {
  it('fails the next call of the session, which says that it is gone; nothing moves to another connection', async () => {
    const test = await start();
    const client = test.client();
    const session = await client.openSession();
    await session.call('login', 'me');
    const pending = rejection(session.call('gated'));
    await eventually('it runs', () => probe.started === 1);
    client.unwrap<Socket>().destroy();
    expect(await pending).toBeInstanceOf(ConnectionLostError);
    expect(await client.call('whoami')).toBeNull();
    for (const failing of [
      session.call('whoami'),
      collect(session.stream('ids', 1)),
      session.channel('idChannel'),
      session.execute('whoami'),
      client.call('whoami', {}, { session }),
    ]) {
      const error = await rejection(failing);
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error).toMatchObject({ message: expect.stringContaining('the session is gone'), sent: 'no' });
    }
    gate.open();
    // only the call outside has come to the server since
    expect(sessions).toEqual([undefined]);
    const fresh = await client.openSession();
    expect(await fresh.call('user')).toBeNull();
    fresh.close();
  });

  it('fails the calls inside withSession, and withSession can be tried again', async () => {
    const test = await start();
    const client = test.client();
    let runs = 0;
    const work = (): Promise<unknown> =>
      client.withSession(async (session) => {
        await client.call('login', 'me');
        if (runs++ === 0) client.unwrap<Socket>().destroy();
        if (runs === 1) await turn();
        return (await client.call<string>('whoami')) === session.id;
      });
    expect(await rejection(work())).toBeInstanceOf(ConnectionLostError);
    expect(await work()).toBe(true);
  });

  it('is not waited for by an event in the session', async () => {
    const test = await start();
    const client = test.client();
    await rejection(
      client.withSession(async () => {
        await client.call('whoami');
        client.unwrap<Socket>().destroy();
        await eventually('it is gone', () => {
          try {
            client.unwrap();
            return false;
          } catch {
            return true;
          }
        });
        await lastValueFrom(client.emit('event', 'lost'), { defaultValue: undefined });
      }),
    );
    await client.call('whoami');
    expect(events).toEqual([]);
  });
});

async function record(
  open: typeof answerDeclareWith,
): Promise<{ client: (port: number) => RapClient; frames: RawFrame[]; port: number; close(): void }> {
  const frames: RawFrame[] = [];
  const scripted = await scriptedServer(async (peer) => {
    await open(peer);
    for (;;) {
      const frame = await peer.next(undefined, 60_000);
      frames.push(frame);
      if (frame[0] === 101) peer.send([101, frame[1], {}, 'ok']);
      if (frame[2]['channel_life_cycle'] === 'DECLARE') {
        peer.send([102, frame[1], { channel_life_cycle: 'DECLARE' }, null]);
        peer.send([102, frame[1], { channel_life_cycle: 'DROP' }, null]);
      }
    }
  });
  scope.defer(() => scripted.close());
  return {
    client: (port) => {
      const client = new RapClient({ host: '127.0.0.1', port });
      scope.defer(() => client.close());
      return client;
    },
    frames,
    port: scripted.port,
    close: () => void scripted.close(),
  };
}

describe('on the wire', () => {
  it('every call, stream and channel carries the id, and session_close ends it', async () => {
    const wire = await record(answerDeclareWith);
    const client = wire.client(wire.port);
    const id = await client.withSession(async (session) => {
      await client.call('a');
      await collect(client.stream('b'));
      await (
        await client.channel('c')
      ).closed;
      await firstValueFrom(client.send('d', {}));
      await lastValueFrom(client.emit('e', {}), { defaultValue: undefined });
      return session.id;
    });
    await eventually('session_close', () =>
      wire.frames.some((frame) => frame[2]['target'] === '/_event/session_close'),
    );
    const calls = wire.frames.filter(([, , header]) => String(header['target']).startsWith('/default/'));
    expect(calls.map(([, , header]) => header['target'])).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map((name) => `/default/${name}`),
    );
    expect(calls.every(([, , header]) => header['session_id'] === id)).toBe(true);
    expect(wire.frames.at(-1)?.[3]).toEqual({ session_id: id });
    await client.call('after');
    expect(wire.frames.at(-1)?.[2]).toEqual({ target: '/default/after' });
  });

  it('a Python server gets the id and no session_close', async () => {
    const wire = await record(answerDeclare);
    const client = wire.client(wire.port);
    await client.withSession(() => client.call('a'));
    await client.call('b');
    expect(wire.frames.map(([, , header]) => header['target'])).toEqual(['/default/a', '/default/b']);
    expect(wire.frames[0]?.[2]['session_id']).toEqual(expect.any(String));
    expect(wire.frames[1]?.[2]['session_id']).toBeUndefined();
  });
});
