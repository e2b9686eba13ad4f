import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Controller, NotFoundException } from '@nestjs/common';
import { EventPattern, MessagePattern, RpcException } from '@nestjs/microservices';
import { concat, of, throwError } from 'rxjs';
import { z } from 'zod';
import {
  AuthError,
  ChannelPattern,
  FuncNotFoundError,
  InvokeError,
  ParseError,
  type RapChannel,
  RapClient,
  type RapContext,
  type RapFunctionExtras,
  type RapRegistryEntry,
  RapServer,
  RegisteredError,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, sorted, testScope } from '../../helpers/async.js';
import { collect } from '../../helpers/streams.js';

const scope = testScope();
const heard: unknown[] = [];
beforeEach(() => void heard.splice(0));

@Controller()
class Handlers {
  @MessagePattern('fixed') fixed(): string {
    return 'of the controller';
  }
  @ChannelPattern('lines') lines(): void {}
  @EventPattern('news') onNews(data: unknown): void {
    heard.push(['controller', data]);
  }
}

const plain = (): RapServer => new RapServer({ host: '127.0.0.1', port: 0, closeTimeoutMs: 500 });

const versionOf = (client: RapClient): Promise<string> => client.call<string>('/registry/version');

const secret = (): never => {
  throw new TypeError('secret');
};

async function listening(server: RapServer): Promise<RapClient> {
  await new Promise<void>((resolve, reject) => {
    server.listen((error) => (error ? reject(error) : resolve()));
  });
  const client = new RapClient({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  scope.defer(async () => {
    client.close();
    await server.close();
  });
  return client;
}

describe('register', () => {
  it.each<[string, (data: never, ctx: RapContext) => unknown]>([
    ['a value', ({ a, b }: { a: number; b: number }) => a + b],
    ['a promise', ({ a, b }: { a: number; b: number }) => Promise.resolve(a + b)],
    ['an Observable', ({ a, b }: { a: number; b: number }) => of(a + b)],
  ])('serves a function that gives %s', async (_, handler) => {
    const { server, client } = await scope.serve([Handlers]);

    server.register('/math/sum', handler);

    expect(await client().call('/math/sum', { a: 1, b: 2 })).toBe(3);
  });

  it('serves generators as streams, and channels', async () => {
    const { server, client } = await scope.serve([Handlers]);
    server.register('count', async function* (n: number) {
      for (let i = 0; i < n; i++) yield Promise.resolve(i);
    });
    server.register(
      'chat',
      async (channel: RapChannel<string, string>) => {
        for await (const line of channel) await channel.write(line.toUpperCase());
      },
      { kind: 'channel' },
    );
    const rap = client();

    expect(await collect(rap.stream('count', 3))).toEqual([0, 1, 2]);
    const chat = await rap.channel<string, string>('chat');
    await chat.write('hello');
    await chat.end();
    expect(await collect(chat)).toEqual(['HELLO']);
  });

  it('gives the function the context of the call', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const seen: unknown[] = [];
    server.register({ group: 'a', name: 'b' }, (_: unknown, ctx: RapContext) =>
      seen.push(ctx.target, ctx.peer.address, ctx.getPattern()),
    );

    await client().call('/a/b');

    expect(seen).toEqual(['/a/b', '127.0.0.1', '{"group":"a","name":"b"}']);
  });

  it('serves an event beside the handlers of the application, and one function of it', async () => {
    const { server, client } = await scope.serve([Handlers]);
    server.register('news', () => heard.push('replaced'), { kind: 'event' });
    server.register('news', (data) => heard.push(['function', data]), { kind: 'event' });
    const rap = client();

    rap.emit('news', 1);
    await eventually('both', () => heard.length === 2);
    expect(sorted(heard)).toEqual([
      ['controller', 1],
      ['function', 1],
    ]);

    expect(server.unregister('news')).toBe(true);
    rap.emit('news', 2);
    await eventually('one', () => heard.length === 3);
    await rap.call('fixed');
    expect(heard).toHaveLength(3);
  });

  it('checks input and output by their schemas', async () => {
    const { server, client } = await scope.serve([Handlers]);
    server.register('half', (n: number) => n / 2, { input: z.number(), output: z.int() });
    const rap = client();

    expect(await rap.call('half', 4)).toBe(2);
    expect(await rejection(rap.call('half', 'x'))).toBeInstanceOf(ParseError);
    expect(await rejection(rap.call('half', 3))).toMatchObject({ message: 'Internal server error' });
  });

  it('honours private, timeoutMs and group', async () => {
    const { server, client } = await scope.serve([Handlers], { trustLoopback: false });
    server.register('hidden', () => 1, { private: true, group: 'g' });
    server.register('slow', () => new Promise(() => {}), { timeoutMs: 20 });
    const rap = client();

    expect(await rejection(rap.call('/g/hidden'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(rap.call('slow'))).toMatchObject({
      message: expect.stringContaining('timeout') as string,
    });
  });

  it('in a guard of calls, it is asked about like a handler', async () => {
    const { server, client } = await scope.serve([Handlers], {
      authorize: (_, { target, doc }) => target !== '/default/closed' && doc === 'd',
    });
    server.register('open', () => 1, { doc: 'd' });
    server.register('closed', () => 1, { doc: 'd' });

    expect(await client().call('open')).toBe(1);
    expect(await rejection(client().call('closed'))).toBeInstanceOf(FuncNotFoundError);
  });
});

describe('errors of a function', () => {
  it.each<[string, () => unknown]>([
    ['throws', secret],
    ['rejects', () => Promise.reject(new TypeError('secret'))],
    ['fails as an Observable', () => throwError(() => new TypeError('secret'))],
    ['fails as a generator', () => failing()],
    [
      'fails late as an Observable',
      () =>
        concat(
          of(1),
          throwError(() => new TypeError('secret')),
        ),
    ],
  ])('that %s are masked, with one line in the log', async (_, handler) => {
    const { server, client, log } = await scope.serve([Handlers]);
    server.register('broken', handler);

    const error = await rejection(collect(client().stream('broken')));

    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(log.lines.filter((line) => line.includes('secret'))).toHaveLength(1);
  });

  it.each<[string, Error, new (...args: never[]) => Error, object]>([
    ['a RapError', new AuthError('no'), AuthError, { message: 'no' }],
    ['an RpcException', new RpcException('because'), InvokeError, { message: 'because' }],
    ['an HttpException', new NotFoundException('gone'), InvokeError, { message: 'gone', httpStatus: 404 }],
  ])('%s arrives as its class', async (_, thrown, type, fields) => {
    const { server, client, log } = await scope.serve([Handlers]);
    server.register('refuses', () => {
      throw thrown;
    });

    const error = await rejection(client().call('refuses'));

    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject(fields);
    expect(log.lines.join('\n')).not.toContain('Internal');
  });

  it('arrive and are logged with exposeErrors', async () => {
    const { server, client, log } = await scope.serve([Handlers], { exposeErrors: true });
    server.register('broken', secret);

    expect(await rejection(client().call('broken'))).toMatchObject({
      message: 'secret',
      remoteName: 'TypeError',
    });
    expect(log.lines.filter((line) => line.includes('secret'))).toHaveLength(1);
  });

  it.each([
    ['unknown', new TypeError('secret')],
    ['known', new AuthError('secret')],
  ])('of an event are logged once, if they are %s', async (_, thrown) => {
    const { server, client, log } = await scope.serve([Handlers]);
    server.register(
      'failing',
      () => {
        throw thrown;
      },
      { kind: 'event' },
    );

    client().emit('failing', 1);

    await eventually('the log', () => log.lines.some((line) => line.includes('secret')));
    expect(log.lines).toHaveLength(1);
  });
});

async function* failing(): AsyncGenerator<number> {
  yield await Promise.resolve(1);
  throw new TypeError('secret');
}

describe('replacing', () => {
  it('leaves running calls to the old function, and gives new ones to the new function', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const gate = new Gate();
    let running = 0;
    server.register('version', async () => {
      running += 1;
      await gate.opened;
      return 1;
    });
    const rap = client();
    const before = [rap.call('version'), rap.call('version')];
    await eventually('they run', () => running === 2);

    server.register('version', () => 2);

    expect(await rap.call('version')).toBe(2);
    gate.open();
    expect(await Promise.all(before)).toEqual([1, 1]);
  });

  it('leaves a running stream to the old function', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const gate = new Gate();
    server.register('feed', async function* () {
      yield 1;
      await gate.opened;
      yield 2;
    });
    const feed = client().stream('feed')[Symbol.asyncIterator]();
    expect(await feed.next()).toMatchObject({ value: 1 });

    expect(server.unregister('feed')).toBe(true);
    gate.open();

    expect(await feed.next()).toMatchObject({ value: 2 });
    expect(await feed.next()).toMatchObject({ done: true });
    expect(await rejection(collect(client().stream('feed')))).toBeInstanceOf(FuncNotFoundError);
  });

  it.each(['unary', 'channel'] as const)('changes the kind of a function, from and to %s', async (kind) => {
    const { server, client } = await scope.serve([Handlers]);
    const other = kind === 'unary' ? 'channel' : 'unary';
    server.register('it', () => 'old', { kind: other });
    server.register('it', () => 'new', { kind });
    const rap = client();

    if (kind === 'unary') expect(await rap.call('it')).toBe('new');
    else expect(await collect(await rap.channel('it'))).toEqual([]);
    const entries = await rap.call<RapRegistryEntry[]>('/registry/list');
    expect(entries.filter(({ func_name: name }) => name === 'it').map((entry) => entry.kind)).toEqual([kind]);
  });

  it.each(['fixed', 'lines', '/registry/list'])('of the handler %s needs { replace: true }', async (name) => {
    const { server } = await scope.serve([Handlers]);
    const version = server.registryVersion;

    expect(() => server.register(name, () => 1)).toThrow(RegisteredError);
    expect(() => server.register(name, () => 1)).toThrow(/is a handler of the application.*replace: true/s);
    expect(server.registryVersion).toBe(version);
  });

  it('stands in for a handler until it is unregistered', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const rap = client();

    server.register('fixed', () => 'stand-in', { replace: true });
    expect(await rap.call('fixed')).toBe('stand-in');
    expect(server.getHandlerByPattern('fixed')).not.toBe(server.getHandlers().get('/default/fixed'));

    expect(server.unregister('fixed')).toBe(true);
    expect(await rap.call('fixed')).toBe('of the controller');
    expect(server.getHandlerByPattern('fixed')).toBe(server.getHandlers().get('/default/fixed'));
    expect(() => server.unregister('fixed')).toThrow('stays');
  });
});

describe('before, between and after', () => {
  it('a function that was registered before listen is served, also after close and the next listen', async () => {
    const server = plain();
    server.register('early', () => 1);
    const client = await listening(server);
    expect(await client.call('early')).toBe(1);
    client.close();
    await server.close();

    server.register('between', () => 2);
    const next = await listening(server);

    expect([await next.call('early'), await next.call('between')]).toEqual([1, 2]);
  });

  it('a controller for the same pattern fails the start, and the error says what to do', async () => {
    const server = plain();
    server.register('taken', () => 1);
    server.addHandler('taken', () => Promise.resolve(2));

    const error = await rejection(listening(server));

    expect(error).toBeInstanceOf(RegisteredError);
    expect(error.message).toContain('/default/taken is a handler of the application');
    server.register('taken', () => 1, { replace: true });
    expect(await (await listening(server)).call('taken')).toBe(1);
  });

  it('another application on the server does not end it', async () => {
    const server = plain();
    server.register('mine', () => 1);
    server.addHandler('old', () => Promise.resolve(1));
    await server.close();
    server.addHandler('new', () => Promise.resolve(2));
    const client = await listening(server);

    expect([await client.call('mine'), await client.call('new')]).toEqual([1, 2]);
    expect(await rejection(client.call('old'))).toBeInstanceOf(FuncNotFoundError);
  });
});

describe('bad input', () => {
  const server = new RapServer();
  it.each<[string, unknown, unknown, unknown]>([
    ['the handler must be a function, got undefined', 'x', undefined, undefined],
    ['extras must be an object', 'x', () => 1, null],
    ['extras.timoutMs is not an option; did you mean extras.timeoutMs?', 'x', () => 1, { timoutMs: 1 }],
    ['timeoutMs must be a number above 0', 'x', () => 1, { timeoutMs: '5' }],
    ['private must be true or false', 'x', () => 1, { private: 'yes' }],
    ['replace must be true or false', 'x', () => 1, { replace: 1 }],
    ['kind must be unary, stream, channel or event, got duplex', 'x', () => 1, { kind: 'duplex' }],
    ['input is not a Standard Schema', 'x', () => 1, { input: {} }],
    ['the group must be text without "/"', 'x', () => 1, { group: 'a/b' }],
    ['the name is empty', '', () => 1, undefined],
    ['it must be text, a number or an object, got undefined', undefined, () => 1, undefined],
    ['it must be text, a number or an object, got null', null, () => 1, undefined],
    ['longer than 256 bytes', 'x'.repeat(300), () => 1, undefined],
  ])('%s', (message, pattern, handler, extras) => {
    const register = (): void => server.register(pattern, handler as () => void, extras as RapFunctionExtras);
    expect(register).toThrow(RegisteredError);
    expect(register).toThrow(message);
    expect(server.registryVersion).toMatch(/\.0$/);
  });

  it('an unknown pattern is not there to be unregistered', () => {
    expect(server.unregister('nobody')).toBe(false);
    expect(() => server.unregister(null)).toThrow(RegisteredError);
    expect(server.registryVersion).toMatch(/\.0$/);
  });
});

describe('the version of the registry', () => {
  it('is the same in servers with the same functions, and told to callers', async () => {
    const [one, two] = [await scope.serve([Handlers]), await scope.serve([Handlers])];
    expect(await versionOf(one.client())).toBe(one.server.registryVersion);
    expect(one.server.registryVersion).toMatch(/^[0-9a-f]{16}\.0$/);
    expect(two.server.registryVersion).toBe(one.server.registryVersion);
  });

  it('changes with each function that comes, is replaced, and goes', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const rap = client();
    const versions = [await versionOf(rap)];
    for (const change of [
      () => server.register('a', () => 1),
      () => server.register('a', () => 2),
      () => server.register('a', () => 2, { doc: 'new' }),
      () => server.register('news', () => 2, { kind: 'event' }),
      () => server.unregister('news'),
      () => server.unregister('a'),
    ]) {
      change();
      // oxlint-disable-next-line no-await-in-loop
      versions.push(await versionOf(rap));
    }

    expect(new Set(versions).size).toBe(versions.length);
    const hashes = versions.map((version) => version.split('.')[0]);
    expect(hashes.at(-1)).toBe(hashes[0]);
    expect(hashes[1]).toBe(hashes[2]);
    expect(new Set(hashes).size).toBe(3); // none, one, one with a text
    expect(versions.map((version) => version.split('.')[1])).toEqual(['0', '1', '2', '3', '4', '5', '6']);
  });

  it('/registry/list follows, also if as many functions come as go', async () => {
    const { server, client } = await scope.serve([Handlers]);
    const rap = client();
    const names = async (): Promise<string[]> =>
      (await rap.call<RapRegistryEntry[]>('/registry/list')).map(({ func_name: name }) => name);
    server.register('a', () => 1, { timeoutMs: 5 });
    expect(await names()).toContain('a');

    server.unregister('a');
    server.register('b', () => 1);

    expect(await names()).toContain('b');
    expect(await names()).not.toContain('a');
  });
});
