import 'reflect-metadata';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { AuthError, ChannelLifecycleError, OverloadError, RapError } from '../../lib/index.js';
import { eventually, pass, rejection, turn, within } from '../helpers/async.js';
import { collect, collectFailing, idle } from '../helpers/streams.js';
import { serverSide, start } from './channel-handlers.js';
import { gate, notes, probe } from '../helpers/stream-scope.js';

describe('reading and writing', () => {
  it('goes both ways, in order', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const sent = Array.from({ length: 2000 }, (_, i) => i);
    const writing = (async () => {
      for (const n of sent) await channel.write(n);
      await channel.end();
    })();
    expect(await collect(channel)).toEqual(sent);
    await writing;
    await channel.closed;
    expect([channel.isClosed, probe.ended]).toEqual([true, 1]);
  });

  it('carries whatever msgpack can', async () => {
    const { mine } = await start();
    const channel = await mine.channel('echo');
    for (const body of [
      0,
      '',
      false,
      null,
      [],
      {},
      { a: [{ b: 2n ** 60n }] },
      'ü',
      1.5,
      Buffer.alloc(200_000, 7),
    ]) {
      await channel.write(body);
      expect(await channel.read()).toEqual(body);
    }
    await channel.write(undefined);
    expect(await channel.read()).toBeNull();
    channel.close();
  });

  it('reads undefined after the last message, again and again', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('returns');
    expect(await channel.read()).toBe('last words');
    for (let i = 0; i < 3; i++) expect(await channel.read()).toBeUndefined();
    expect(await collect(channel)).toEqual([]);
    await channel.closed;
  });

  it('lets several readers share the messages', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const reads = [channel.read(), channel.read(), channel.read()];
    for (const n of [1, 2, 3]) await channel.write(n);
    expect(await Promise.all(reads)).toEqual([1, 2, 3]);
    const pending = channel.read();
    await channel.end();
    expect(await pending).toBeUndefined();
  });

  it('goes on after a loop that was left', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    for (const n of [1, 2, 3]) await channel.write(n);
    for await (const n of channel) {
      expect(n).toBe(1);
      break;
    }
    expect(channel.isClosed).toBe(false);
    expect(await channel.read()).toBe(2);
    for await (const { body } of channel.messages()) {
      expect(body).toBe(3);
      break;
    }
    channel.close();
  });

  it('reads what had come before the end, after it', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('in order');
    await channel.closed;
    expect(channel.isClosed).toBe(true);
    expect([await channel.read(), await channel.read()]).toEqual(['bye', undefined]);
  });

  it('reads what had come before an error, then fails with it', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('me');
    await rejection(channel.closed);
    const { items, error } = await collectFailing(channel);
    expect(items).toEqual(['before']);
    expect(error).toBeInstanceOf(AuthError);
    expect(await rejection(channel.read())).toMatchObject({ message: 'not you' });
  });
});

describe('messages()', () => {
  it("shows headers both ways, and the life cycle stays the channel's own", async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ header: object; body: unknown }>('headers');
    await channel.write('a', { trace: 't1', channel_life_cycle: 'DROP', deep: { er: [1] } });
    await channel.write('b');
    await channel.end();
    const got = [];
    for await (const message of channel.messages()) got.push(message);
    expect(got).toEqual([
      {
        header: { channel_life_cycle: 'MSG', trace: 're t1', n: 1 },
        body: { header: { channel_life_cycle: 'MSG', trace: 't1', deep: { er: [1] } }, body: 'a' },
      },
      {
        header: { channel_life_cycle: 'MSG', trace: 're undefined', n: 1 },
        body: { header: { channel_life_cycle: 'MSG' }, body: 'b' },
      },
    ]);
  });
});

describe('write()', () => {
  it('resolves when the peer has room, not before', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    let written = 0;
    const writing = (async () => {
      for (let i = 0; i < 600; i++) {
        await channel.write(Buffer.alloc(1024));
        written += 1;
      }
    })();
    await eventually('the window is full', () => written > 200);
    await mine.call('sum', { a: 1, b: 1 });
    await pass(20);
    expect(written).toBeLessThan(262);
    const other = await serverSide();
    for (let i = 0; i < 100; i++) await other.read();
    expect(written).toBeLessThan(400);
    for (let i = 0; i < 500; i++) await other.read();
    await within('all is written', writing);
    expect(written).toBe(600);
    gate.open();
    await channel.closed;
  });

  it('fails for a body that cannot be sent, and the channel goes on', async () => {
    const { mine } = await start();
    const channel = await mine.channel('echo');
    const circular: unknown[] = [];
    circular.push(circular);
    for (const body of [circular, { deep: circular }, Buffer.alloc(5 << 20)]) {
      expect(await rejection(channel.write(body))).toBeInstanceOf(RapError);
    }
    expect(await rejection(channel.write('x', { big: 'x'.repeat(10_000) }))).toBeInstanceOf(RapError);
    await channel.write('good');
    expect(await channel.read()).toBe('good');
    channel.close();
  });

  it('fails for a body that cannot be sent also if it had to wait', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    const filling = Array.from({ length: 300 }, () => channel.write(Buffer.alloc(1024)));
    const circular: unknown[] = [];
    circular.push(circular);
    const bad = channel.write(circular);
    const last = channel.write('last');
    const failed = rejection(bad);
    const other = await serverSide();
    for (let i = 0; i < 300; i++) await other.read();
    expect(await failed).toBeInstanceOf(RapError);
    await last;
    await Promise.all(filling);
    expect(await other.read()).toBe('last');
    gate.open();
    await channel.closed;
  });

  it('that nobody awaits waits in a bounded line, and then fails', async () => {
    const { mine } = await start();
    const channel = await mine.channel<Uint8Array>('rude');
    const got = await collect(channel);
    await channel.closed;
    const written = notes.filter((note) => note === 'written').length;
    expect(got).toHaveLength(written);
    expect(notes.filter((note) => note === 'OverloadError')).toHaveLength(5000 - written);
    // the window and 1024 that wait
    expect(written).toBeGreaterThan(1024);
    expect(written).toBeLessThan(1400);
  });

  it('that nobody awaits fails on the client too, with words that help', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    const writes = Array.from({ length: 1500 }, () => channel.write(Buffer.alloc(1024)));
    const outcomes = Promise.allSettled(writes);
    const error = await rejection(writes.at(-1) as Promise<void>);
    expect(error).toBeInstanceOf(OverloadError);
    expect(error).toMatchObject({
      message: expect.stringContaining('await write()'),
      code: 'ERR_RAP_OVERLOAD',
    });
    channel.close();
    const reasons = (await outcomes).flatMap((it) =>
      it.status === 'rejected' ? [it.reason as unknown] : [],
    );
    expect(reasons.some((reason) => reason instanceof ChannelLifecycleError)).toBe(true);
    gate.open();
  });
});

describe('loop()', () => {
  it('is true as long as something is there or may come', async () => {
    const test = await start();
    const channel = await test.mine.channel<number, number>('loop');
    await channel.write(1);
    expect(await channel.read()).toBe(2);
    expect(await channel.loop()).toBe(true);
    await channel.end();
    await idle(test);
    expect(probe.ended).toBe(1);
    await channel.closed;
    expect(await channel.loop()).toBe(false);
  });

  it('goes on over what came before the end', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('in order');
    await channel.closed;
    expect(await channel.loop()).toBe(true);
    expect(await channel.read()).toBe('bye');
    expect(await channel.loop()).toBe(false);
  });

  it('is over when its condition is', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    let rounds = 0;
    while (await channel.loop(rounds < 3)) {
      await channel.write(rounds);
      expect(await channel.read()).toBe(rounds++);
    }
    expect(rounds).toBe(3);
    expect(channel.isClosed).toBe(false);
    channel.close();
  });

  it('lets others work if a loop does nothing else', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    let answered = false;
    const call = mine.call('sum', { a: 1, b: 2 }).then(() => (answered = true));
    while (await channel.loop(!answered));
    await call;
    channel.close();
  });
});

describe('toObservable()', () => {
  it('emits the messages and completes with the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const all = lastValueFrom(channel.toObservable().pipe(toArray()));
    for (const n of [1, 2, 3]) await channel.write(n);
    await channel.end();
    expect(await all).toEqual([1, 2, 3]);
  });

  it('fails with the error of the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    const seen: unknown[] = [];
    const failed = new Promise((resolve) =>
      channel.toObservable().subscribe({ next: (line) => seen.push(line), error: resolve }),
    );
    await channel.write('me');
    expect(await failed).toBeInstanceOf(AuthError);
    expect(seen).toEqual(['before']);
  });

  it('takes no more than it emits', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    for (const n of [1, 2, 3]) await channel.write(n);
    expect(await firstValueFrom(channel.toObservable())).toBe(1);
    expect(await within('the second message', channel.read())).toBe(2);
    channel.close();
  });

  it('takes nothing more after unsubscribe', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    const seen: number[] = [];
    const subscription = channel.toObservable().subscribe((n) => seen.push(n));
    await channel.write(1);
    await eventually('the first message', () => seen.length === 1);
    subscription.unsubscribe();
    await turn();
    await channel.write(2);
    expect(await within('the second message', channel.read())).toBe(2);
    expect([seen, channel.isClosed]).toEqual([[1], false]);
    channel.close();
  });

  it('works in a handler', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, number>('toObservable');
    for (const n of [1, 2]) await channel.write(n);
    expect(await channel.read()).toEqual([1, 2]);
    await channel.write(3);
    expect(await within('the third message', channel.read())).toBe(3);
    channel.close();
  });
});
