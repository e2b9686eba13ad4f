import 'reflect-metadata';
import {
  AuthError,
  ChannelLifecycleError,
  RapChannel,
  ServerError,
  TooManyRequestsError,
} from '../../lib/index.js';
import { eventually, rejection } from '../helpers/async.js';
import { collect, collectFailing, idle } from '../helpers/streams.js';
import { serverSide, start } from './channel-handlers.js';
import { gate, notes, probe } from '../helpers/stream-scope.js';

describe('end()', () => {
  it('leaves the other direction open', async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ count: number; sum: number }, number>('upload');
    for (const n of [1, 2, 3]) await channel.write(n);
    await channel.end();
    expect(channel.isClosed).toBe(false);
    expect(await channel.read()).toEqual({ count: 3, sum: 6 });
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
  });

  it('comes after writes that still wait', async () => {
    const { mine } = await start();
    const channel = await mine.channel<unknown, Buffer>('hold');
    const writes = Array.from({ length: 400 }, (_, i) => channel.write(Buffer.alloc(1024, i)));
    const ended = channel.end();
    const other = await serverSide();
    const got = await collect(other as RapChannel<Uint8Array>);
    expect(got.map((body) => body[0])).toEqual(Array.from({ length: 400 }, (_, i) => i % 256));
    await Promise.all([...writes, ended]);
    gate.open();
    await channel.closed;
  });

  it('may come first from the server, which reads on', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('endsFirst');
    expect([await channel.read(), await channel.read()]).toEqual(['hello', undefined]);
    expect(channel.isClosed).toBe(false);
    await channel.write('still heard');
    await channel.end();
    await channel.closed;
    await eventually('the handler has seen the end', () => notes.length === 2);
    expect(notes).toEqual(['still heard', 'end']);
  });

  it('allows no write after it, and no second end', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    await channel.end();
    const error = await rejection(channel.write(1));
    expect(error).toBeInstanceOf(ChannelLifecycleError);
    expect(error).toMatchObject({ status: 10081, message: 'this side has ended' });
    expect(await rejection(channel.end())).toBeInstanceOf(ChannelLifecycleError);
    gate.open();
    await channel.closed;
    expect(await rejection(channel.end())).toMatchObject({ status: 10081, message: 'the channel is closed' });
  });

  it('may be the very first word', async () => {
    const { mine } = await start();
    const channel = await mine.channel<{ count: number }, number>('upload');
    await channel.end();
    expect(await channel.read()).toEqual({ count: 0, sum: 0 });
    await channel.closed;
  });
});

describe('close()', () => {
  it('ends the channel both ways, at once', async () => {
    const test = await start();
    const channel = await test.mine.channel<string, string>('notes');
    await channel.write('one');
    await eventually('it has read', () => notes.length === 1);
    const reading = channel.read();
    channel.close();
    channel.close();
    expect(await reading).toBeUndefined();
    expect(channel.isClosed).toBe(true);
    expect(channel.signal.aborted).toBe(true);
    await channel.closed;
    expect(await rejection(channel.write('x'))).toBeInstanceOf(ChannelLifecycleError);
    await idle(test);
    expect(notes.slice(0, 2)).toEqual(['one', 'end']);
    expect(notes[2]).toBeInstanceOf(ChannelLifecycleError);
    expect(probe.aborted).toBe(1);
    expect(test.mine.stats().channels).toBe(0);
  });

  it('with an error tells the handler', async () => {
    const test = await start();
    const channel = await test.mine.channel<string, string>('notes');
    await channel.write('one');
    await eventually('it has read', () => notes.length === 1);
    channel.close(new AuthError('I give up', { details: { step: 3 } }));
    await channel.closed;
    await idle(test);
    const [, error, late] = notes;
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'I give up', status: 401, details: { step: 3 } });
    expect(late).toMatchObject({ message: 'I give up' });
    const other = await serverSide();
    expect(await rejection(other.closed)).toBeInstanceOf(AuthError);
    expect(other.signal.reason).toMatchObject({ message: 'I give up' });
  });

  it('with an error in the handler tells the client', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('error');
    const { items, error } = await collectFailing(channel);
    expect(items).toEqual(['bye']);
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'closed on you', details: 1 });
    expect(await rejection(channel.closed)).toBeInstanceOf(AuthError);
    expect(await rejection(channel.write('x'))).toBeInstanceOf(AuthError);
    expect(channel.signal.reason).toMatchObject({ message: 'closed on you' });
    await eventually('the handler has gone on', () => notes.length === 3);
    expect(notes[0]).toBe(true);
    expect(notes[1]).toBeInstanceOf(ChannelLifecycleError);
    expect(notes[2]).toBeUndefined();
  });

  it('takes anything as an error', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('closes');
    await channel.write('text');
    expect(await rejection(channel.closed)).toMatchObject({ message: 'only a text', status: 301 });
    await eventually('the handler has gone on', () => notes.length === 3);
  });

  it('before the server has answered leaves nothing behind', async () => {
    const test = await start();
    const channel = await test.mine.channel('echo');
    channel.close();
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
    await test.mine.call('sum', { a: 1, b: 1 });
    await idle(test);
    expect(test.mine.stats()).toMatchObject({ channels: 0 });
  });

  it('drops what was not read', async () => {
    const { mine } = await start();
    const channel = await mine.channel<number, number>('echo');
    await channel.write(1);
    await mine.call('sum', { a: 1, b: 1 });
    channel.close();
    expect(await channel.read()).toBeUndefined();
  });
});

describe('a handler', () => {
  it('that returns ends the channel; its result goes nowhere', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('returns');
    expect(await collect(channel)).toEqual(['last words']);
    await channel.closed;
    expect(await rejection(channel.write('x'))).toBeInstanceOf(ChannelLifecycleError);
  });

  it('that returns at once, without a promise, ends the channel', async () => {
    const { mine } = await start();
    const channel = await mine.channel('returnsAtOnce');
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
    expect((await serverSide()).isClosed).toBe(true);
  });

  it('that throws ends the channel with its error', async () => {
    const { mine } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('me');
    expect(await channel.read()).toBe('before');
    const error = await rejection(channel.read());
    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'not you', code: 'ERR_APP', details: { you: 'me' }, status: 401 });
  });

  it('that throws anything else is masked, or shown if errors are exposed', async () => {
    const { mine, log } = await start();
    const channel = await mine.channel<string, string>('throws');
    await channel.write('masked');
    const error = await rejection(channel.closed);
    expect(error).toBeInstanceOf(ServerError);
    expect(error.message).toBe('Internal server error');
    expect(log.lines.filter((line) => line.includes('secret'))).toHaveLength(1);

    const exposing = await start({ exposeErrors: true });
    const open = await exposing.mine.channel<string, string>('throws');
    await open.write('masked');
    expect(await rejection(open.closed)).toMatchObject({
      message: 'secret',
      remoteName: 'TypeError',
      status: 301,
    });
  });

  it('that ends its side has its signal left alone until the client is done', async () => {
    const { mine } = await start();
    const channel = await mine.channel('hold');
    const other = await serverSide();
    await other.end();
    await channel.read();
    expect(probe.aborted).toBe(0);
    await channel.end();
    await eventually('the channel is over', () => other.isClosed);
    gate.open();
  });

  it('keeps its slot until it has ended, however long the channel is over', async () => {
    const test = await start({ limits: { maxChannels: 1 } });
    const channel = await test.mine.channel('hold');
    await serverSide();
    channel.close();
    await eventually('the signal is aborted', () => probe.aborted === 1);
    expect(test.server.stats().inFlight).toBe(1);
    const second = await test.mine.channel('hold');
    expect(await rejection(second.closed)).toBeInstanceOf(TooManyRequestsError);
    gate.open();
    await idle(test);
    const third = await test.mine.channel('hold');
    await third.closed;
  });
});
