import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import * as v from 'valibot';
import { z } from 'zod';
import {
  ChannelPattern,
  defineService,
  duplex,
  FuncNotFoundError,
  InvokeError,
  type Authorize,
  type RapAuthorizeRequest,
  RapClient,
  RapGroup,
  type RapHandlerInfo,
  type RapHandlers,
  type RapRegistryEntry,
  RapService,
  RegisteredError,
  serverStream,
  unary,
} from '../../lib/index.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { callFrom, REMOTE_CALLERS } from '../helpers/remote-caller.js';
import { RawSocket } from '../helpers/raw-socket.js';

const scope = testScope();

const MathService = defineService('math', {
  sum: unary({
    input: z.object({ a: z.number(), b: z.number() }),
    output: z.number(),
    doc: 'Adds two numbers',
    timeoutMs: 500,
    idempotent: true,
    aliases: ['/other/add'],
  }),
  count: serverStream<number, number>({ input: v.number(), private: true }),
  chat: duplex<string, string>(),
});

@RapService(MathService)
class MathController implements RapHandlers<typeof MathService> {
  sum({ a, b }: { a: number; b: number }): number {
    return a + b;
  }
  *count(n: number): Generator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
  chat(): void {}
}

@RapGroup('plain')
@Controller()
class GroupController {
  @MessagePattern('list', { doc: 'Lists', kind: 'stream' }) list(): number[] {
    return [];
  }
  @MessagePattern('generate') *generate(): Generator<number> {}
  @EventPattern('done') done(): void {}
}

@Controller()
class PlainController {
  @MessagePattern('sum', { private: true }) sum(): number {
    return 0;
  }
  @ChannelPattern('echo') echo(): void {}
}

const LIST = {
  group: 'registry',
  func_type: 'normal',
  is_gen_func: false,
  is_private: true,
  doc: 'Lists the functions of this server',
  func_name: 'list',
  module_name: 'RapServer',
  kind: 'unary',
  idempotent: true,
};

const CHECK = {
  ...LIST,
  group: 'health',
  is_private: false,
  doc: 'Whether the server, or a service of it, serves',
  func_name: 'check',
};
const WATCH = {
  ...CHECK,
  is_gen_func: true,
  doc: 'Whether the server, or a service of it, serves, now and after each change',
  func_name: 'watch',
  kind: 'stream',
};
const VERSION = { ...LIST, doc: 'The version of the list of functions', func_name: 'version' };

describe('/registry/list', () => {
  it('tells of every function', async () => {
    const { client } = await scope.serve([MathController, GroupController, PlainController]);

    const entries = await client().call<RapRegistryEntry[]>('/registry/list');

    const plain = { is_gen_func: false, is_private: false, doc: '', idempotent: false };
    const number = { $schema: expect.any(String) as string, type: 'number' };
    const sum = {
      ...plain,
      group: 'math',
      func_type: 'normal',
      doc: 'Adds two numbers',
      func_name: 'sum',
      module_name: 'MathController',
      kind: 'unary',
      idempotent: true,
      timeout_ms: 500,
      input: expect.objectContaining({
        type: 'object',
        properties: { a: { type: 'number' }, b: { type: 'number' } },
        required: ['a', 'b'],
      }) as object,
      output: number,
    };
    expect(entries).toEqual([
      CHECK,
      WATCH,
      LIST,
      VERSION,
      sum,
      { ...sum, group: 'other', func_name: 'add' },
      // valibot offers no JSON Schema by itself
      {
        ...plain,
        group: 'math',
        func_type: 'normal',
        is_gen_func: true,
        is_private: true,
        func_name: 'count',
        module_name: 'MathController',
        kind: 'stream',
      },
      {
        ...plain,
        group: 'plain',
        func_type: 'normal',
        is_gen_func: true,
        doc: 'Lists',
        func_name: 'list',
        module_name: 'GroupController',
        kind: 'stream',
      },
      {
        ...plain,
        group: 'plain',
        func_type: 'normal',
        is_gen_func: true,
        func_name: 'generate',
        module_name: 'GroupController',
        kind: 'stream',
      },
      {
        ...plain,
        group: 'default',
        func_type: 'normal',
        is_private: true,
        func_name: 'sum',
        module_name: '',
        kind: 'unary',
      },
      {
        ...plain,
        group: 'math',
        func_type: 'channel',
        func_name: 'chat',
        module_name: 'MathController',
        kind: 'channel',
      },
      {
        ...plain,
        group: 'default',
        func_type: 'channel',
        func_name: 'echo',
        module_name: '',
        kind: 'channel',
      },
      {
        ...plain,
        group: 'plain',
        func_type: 'normal',
        func_name: 'done',
        module_name: 'GroupController',
        kind: 'event',
      },
    ]);
  });

  it('is what a Python client reads: a list of maps of texts and booleans under the names of Python', async () => {
    const { port } = await scope.serve([MathController]);
    const raw = await RawSocket.open(port);
    scope.defer(() => raw.socket.destroy());

    raw.send([101, 5, { target: '/registry/list' }, {}]);
    const [type, id, header, body] = await raw.answer(5);

    expect([type, id, header]).toEqual([101, 5, {}]);
    const pythonTypes = {
      group: 'string',
      func_type: 'string',
      is_gen_func: 'boolean',
      is_private: 'boolean',
      doc: 'string',
      func_name: 'string',
      module_name: 'string',
    };
    const entries = body as Record<string, unknown>[];
    expect(entries.length).toBe(8);
    for (const entry of entries) {
      const types = Object.keys(pythonTypes).map((key) => [key, typeof entry[key]]);
      expect(Object.fromEntries(types)).toEqual(pythonTypes);
      expect(['normal', 'channel']).toContain(entry['func_type']);
    }
    expect(entries[2]).toEqual(LIST);
  });

  it('can be opened, and switched off', async () => {
    const open = await scope.serve([MathController], { registry: 'public' });
    const off = await scope.serve([MathController], { registry: false });

    const [, , entry] = await open.client().call<RapRegistryEntry[]>('/registry/list');

    expect(entry).toEqual({ ...LIST, is_private: false });
    expect(await rejection(off.client().call('/registry/list'))).toBeInstanceOf(FuncNotFoundError);
  });

  it('cannot be taken over, but can be replaced if it is off', async () => {
    @Controller()
    class OwnController {
      @MessagePattern('/registry/list') list(): string {
        return 'own';
      }
    }

    const error = await rejection(scope.serve([OwnController]));
    const { client } = await scope.serve([OwnController], { registry: false });

    expect(error).toBeInstanceOf(RegisteredError);
    expect(error.message).toContain('/registry/list is handled by RapServer.list');
    expect(await client().call('/registry/list')).toBe('own');
  });

  it('leaves out a JSON Schema that cannot be made', async () => {
    const S = defineService('odd', {
      call: unary({ input: z.custom<() => void>(() => true), output: z.bigint() }),
    });
    @RapService(S)
    class OddController implements RapHandlers<typeof S> {
      call(): bigint {
        return 1n;
      }
    }
    const { client } = await scope.serve([OddController]);

    const entries = await client().call<RapRegistryEntry[]>('/registry/list');

    expect(entries.at(-1)).toMatchObject({ func_name: 'call' });
    expect(entries.at(-1)).not.toHaveProperty('output');
  });
});

it.each(['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1'])(
  'private functions are there for a caller from %s',
  async (address) => {
    const { port, server } = await scope.serve([MathController]);
    const client = new RapClient({ host: callFrom(server, address), port });
    scope.defer(() => client.close());

    const [, , list] = await client.call<RapRegistryEntry[]>('/registry/list');

    expect(list).toEqual(LIST);
    client.close();
  },
);

describe.each(REMOTE_CALLERS)('private functions, for a caller from %s', (_, hostOf) => {
  it('are what unknown ones are: answer and log', async () => {
    const { port, server, log } = await scope.serve([MathController, PlainController], { host: '0.0.0.0' });
    const host = hostOf(server);
    const answers: unknown[] = [];
    for (const target of ['/registry/list', '/registry/lost', '/default/sum', '/math/count']) {
      const client = new RapClient({ host, port });
      scope.defer(() => client.close());
      const error = await rejection(client.call(target));
      expect(error).toBeInstanceOf(FuncNotFoundError);
      answers.push([error.message, error.status, error.code, error.details]);
      client.close();
    }

    const expected = [
      ['registry', 'list'],
      ['registry', 'lost'],
      ['default', 'sum'],
      ['math', 'count'],
    ].map(([group, name]) => [
      `Not found func. name: ${name}, group: ${group}`,
      404,
      'ERR_RAP_FUNC_NOT_FOUND',
      undefined,
    ]);
    expect(answers).toEqual(expected);
    const warnings = log.lines.filter((line) => line.includes('no handler for function'));
    expect(warnings.length).toBe(4);
    for (const target of ['/registry/list', '/math/count']) {
      expect(warnings.join('\n')).not.toContain(`did they mean ${target}?; `);
      expect(warnings.find((line) => line.includes(`"${target}"`))).not.toContain(`mean ${target}`);
    }
  });

  it('stay private when asked for as a stream, a channel and an event, and others are found', async () => {
    const { port, server } = await scope.serve([MathController], { host: '0.0.0.0' });
    const client = new RapClient({ host: hostOf(server), port });
    scope.defer(() => client.close());

    const stream = client.stream('/math/count', 1)[Symbol.asyncIterator]();
    expect(await rejection(stream.next())).toBeInstanceOf(FuncNotFoundError);
    const channel = await client.channel('/math/count');
    expect(await rejection(channel.read())).toBeInstanceOf(FuncNotFoundError);
    expect(await client.call('/math/sum', { a: 1, b: 2 })).toBe(3);
    client.close();
  });
});

const serve = (authorize: Authorize): ReturnType<typeof scope.serve> =>
  scope.serve([MathController, PlainController], { authorize });

describe('authorize', () => {
  it('sees who asks for what, and the handler', async () => {
    const asked: [RapAuthorizeRequest, RapHandlerInfo][] = [];
    const { client } = await serve((request, handler) => {
      asked.push([request, handler]);
      return true;
    });
    const rap = client({ metadata: { app: 'demo' } });

    await rap.call('/math/sum', { a: 1, b: 2 }, { header: { 'x-key': 'k' } });
    for await (const _ of rap.stream('/math/count', 1));
    const channel = await rap.channel('/math/chat');
    await channel.closed;
    rap.emit('/math/sum', { a: 1, b: 2 });
    await eventually('the event', () => asked.length === 4);

    expect(asked.map(([{ kind, target }]) => [kind, target])).toEqual([
      ['call', '/math/sum'],
      ['channel', '/math/count'],
      ['channel', '/math/chat'],
      ['event', '/math/sum'],
    ]);
    expect(asked[0]?.[0]).toMatchObject({
      header: { 'x-key': 'k' },
      metadata: { app: 'demo' },
      peer: { address: '127.0.0.1' },
      isLocal: true,
    });
    expect(asked[0]?.[1]).toMatchObject({
      target: '/math/sum',
      group: 'math',
      name: 'sum',
      kind: 'unary',
      isPrivate: false,
      timeoutMs: 500,
      idempotent: true,
      doc: 'Adds two numbers',
    });
  });

  const refusals: [string, Authorize][] = [
    ['false', () => false],
    ['a promise of false', () => Promise.resolve(false)],
    ['nothing', () => undefined as never],
    ['a promise of something else than true', () => Promise.resolve('yes') as never],
    [
      'an error',
      () => {
        throw new Error('secret');
      },
    ],
    ['a rejection', () => Promise.reject(new Error('secret'))],
    ['a rejection with nothing', () => Promise.reject(undefined)],
  ];
  it.each(refusals)('that gives %s makes the function unknown, whatever its kind', async (_, authorize) => {
    const { client } = await serve(authorize);
    const rap = client();

    const unknown = await rejection(rap.call('/math/sums'));
    const refused = await rejection(rap.call('/math/sum', { a: 1, b: 2 }));
    const stream = rap.stream('/math/count', 1)[Symbol.asyncIterator]();
    const channel = await rap.channel('/math/chat');

    expect(refused).toBeInstanceOf(FuncNotFoundError);
    expect(refused.message).toBe(unknown.message.replace('sums', 'sum'));
    expect(refused.details).toEqual(unknown.details);
    expect(await rejection(stream.next())).toBeInstanceOf(FuncNotFoundError);
    expect(await rejection(channel.read())).toBeInstanceOf(FuncNotFoundError);
    // a call of what is a channel must not give away that there is one
    expect(await rejection(rap.call('/math/chat'))).toBeInstanceOf(FuncNotFoundError);
  });

  it('that fails is logged once a connection, not told', async () => {
    const { client, log } = await serve(() => {
      throw new Error('no database');
    });
    const rap = client();

    for (let i = 0; i < 3; i++) await rejection(rap.call('/math/sum', { a: 1, b: 2 }));

    const lines = log.lines.filter((line) => line.includes('no database'));
    expect(lines.length).toBe(1);
    expect(lines[0]).toContain('authorize failed for /math/sum');
  });

  it('replaces the rule for private functions, the registry included', async () => {
    const { client } = await serve((request, { isPrivate }) => !isPrivate || request.header['x-key'] === 'k');
    const rap = client();

    expect(await rejection(rap.call('/registry/list'))).toBeInstanceOf(FuncNotFoundError);
    expect(await rap.call('/registry/list', undefined, { header: { 'x-key': 'k' } })).toHaveLength(10);
    expect(await rap.call('/math/sum', { a: 1, b: 2 })).toBe(3);
  });

  it('that takes its time: the call runs when it says yes, with what was sent meanwhile', async () => {
    const gate = new Gate();
    const S = defineService('echo', { echo: duplex<string, string>() });
    @RapService(S)
    class EchoController implements RapHandlers<typeof S> {
      async echo(channel: AsyncIterable<string> & { write(line: string): Promise<void> }): Promise<void> {
        for await (const line of channel) await channel.write(line);
      }
    }
    const { client } = await scope.serve([EchoController], {
      authorize: async () => {
        await gate.opened;
        return true;
      },
    });
    const echo = await client().service(S).echo();
    await echo.write('one');
    await echo.write('two');
    gate.open();

    expect([await echo.read(), await echo.read()]).toEqual(['one', 'two']);
  });

  it('that hangs is bound by the time of the call, and starts nothing afterwards', async () => {
    const gate = new Gate<boolean>();
    let ran = 0;
    @Controller()
    class SlowController {
      @MessagePattern('slow', { timeoutMs: 30 }) slow(): void {
        ran += 1;
      }
    }
    const { client, server } = await scope.serve([SlowController], { authorize: () => gate.opened });
    const rap = client();

    const error = await rejection(rap.call('slow'));
    expect(error).toBeInstanceOf(InvokeError);
    expect(error.remoteName).toBe('RpcRunTimeError');
    expect(server.stats().inFlight).toBe(1); // it holds its slot until the answer is there
    gate.open(true);
    await within(
      'the slot is free',
      eventually('the slot', () => server.stats().inFlight === 0),
    );
    expect(ran).toBe(0);
  });
});
