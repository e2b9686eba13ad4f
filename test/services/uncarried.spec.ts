import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { z } from 'zod';
import {
  ChannelPattern,
  clientStream,
  CryptoProcessor,
  defineService,
  duplex,
  ParseError,
  type RapChannel,
  type RapClient,
  RapGroup,
  RapService,
  type RapServiceClient,
  serverStream,
  unary,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { collect } from '../helpers/streams.js';

const scope = testScope();

const When = z.object({ at: z.date(), n: z.number().optional() });
const All = z.object({
  at: z.array(z.date()),
  size: z.bigint(),
  names: z.map(z.string(), z.number()),
  ids: z.set(z.string()),
  link: z.instanceof(URL),
});
const Text = z.date().transform((date) => date.toISOString());

const S = defineService('s', {
  when: unary({ input: When, output: z.any() }),
  all: unary({ input: All, output: z.any() }),
  gives: unary({ input: z.any(), output: When }),
  givesAll: unary({ input: z.any(), output: All }),
  text: unary({ input: z.any(), output: Text }),
  coerced: unary({ input: z.coerce.date(), output: z.any() }),
  coerces: unary({ input: z.any(), output: z.object({ at: z.coerce.date() }) }),
  held: unary({ input: z.any(), output: z.any() }),
  later: unary({ input: When.refine(async () => Promise.resolve(true)), output: z.any() }),
  stream: serverStream({ input: z.any(), output: When }),
  streamOf: serverStream({ input: When, output: z.any() }),
  upload: clientStream({ input: When, output: z.any() }),
  chat: duplex({ input: When, output: When }),
});

const date = new Date(1_732_270_000_123);
const all = {
  at: [date],
  size: 5n,
  names: new Map([['a', 1]]),
  ids: new Set(['b']),
  link: new URL('https://example.com/a'),
};

let ran: unknown[] = [];
beforeEach(() => (ran = []));

/** The contract's functions as a server in another language has them, which knows no schemas. */
@RapGroup('s')
@Controller()
class Foreign {
  @MessagePattern(['when', 'all', 'coerced', 'later']) takes(@Payload() data: unknown): string {
    ran.push(data);
    return 'taken';
  }
  @MessagePattern(['gives', 'coerces']) gives(): unknown {
    return { at: date };
  }
  @MessagePattern('givesAll') givesAll(): unknown {
    return all;
  }
  @MessagePattern('text') text(): unknown {
    return date;
  }
  @MessagePattern('stream') async *stream(): AsyncGenerator {
    yield await Promise.resolve({ at: date });
  }
  @MessagePattern('streamOf') async *streamOf(@Payload() data: unknown): AsyncGenerator {
    ran.push(data);
    yield await Promise.resolve(1);
  }
  @ChannelPattern('upload') async upload(@Payload() channel: RapChannel): Promise<void> {
    await channel.write(await collect(channel));
  }
  @ChannelPattern('chat') async chat(@Payload() channel: RapChannel): Promise<void> {
    for await (const item of channel) await channel.write(item);
  }
}

@RapService(S)
class Own {
  when(data: unknown): unknown {
    ran.push(data);
    return data;
  }
  all(data: unknown): unknown {
    return data;
  }
  gives(): unknown {
    return { at: date };
  }
  givesAll(): unknown {
    return all;
  }
  text(): unknown {
    return date;
  }
  coerced(data: unknown): unknown {
    return data;
  }
  coerces(): unknown {
    return { at: date };
  }
  later(data: unknown): unknown {
    return data;
  }
  held(data: unknown): unknown {
    return data;
  }
  async *stream(): AsyncGenerator {
    yield await Promise.resolve({ at: date });
  }
  async *streamOf(data: unknown): AsyncGenerator {
    yield await Promise.resolve(data);
  }
  upload(channel: RapChannel<unknown, never>): Promise<unknown> {
    return collect(channel);
  }
  async chat(channel: RapChannel): Promise<void> {
    for await (const item of channel) await channel.write(item);
  }
}

/** Over mode `rap-cbc`, which has bodies of JSON, neither side offers the extension. */
const KEY = '0123456789abcdef';
async function served(controller: typeof Own | typeof Foreign): Promise<RapClient> {
  const mode = 'rap-cbc';
  const { client } = await scope.serve([controller], {
    processors: [new CryptoProcessor({ mode, keys: { k: KEY } })],
  });
  return client({ processors: [new CryptoProcessor({ mode, keyId: 'k', key: KEY })] });
}

describe('a contract that demands what the connection does not carry', () => {
  it('says so to a caller, by method and field', async () => {
    const client = await served(Own);

    const error = await rejection(client.call('/s/when', { at: date, n: 'x' }));

    expect(error).toBeInstanceOf(ParseError);
    expect(error['details']).toEqual([
      {
        path: 'at',
        message: expect.stringMatching(
          /date.*; a Date arrives at \/s\/when only from a peer that offers the extension "values"$/,
        ),
      },
      { path: 'n', message: expect.not.stringContaining('extension') },
    ]);
    const lost = (await rejection(client.call('/s/all', all)))['details'] as { message: string }[];
    expect(lost.map(({ message }) => /; a (\w+) arrives/.exec(message)?.[1])).toEqual([
      'Date',
      'bigint',
      'Map',
      'Set',
      'URL',
    ]);
    expect((await rejection(client.call('/s/later', { at: date }))).message).toContain(
      'a Date arrives at /s/later',
    );
    const channel = await client.channel('/s/chat');
    await channel.write({ at: date });
    expect((await rejection(channel.read())).message).toContain('a Date arrives at /s/chat');
  });

  it('says nothing of it to a caller who sends something else, or could send it', async () => {
    const client = await served(Own);
    for (const at of [5, 'tomorrow', null])
      expect((await rejection(client.call('/s/when', { at }))).message).not.toContain('extension');

    const { client: plain } = await scope.serve([Own]);
    const error = await rejection(plain().call('/s/when', { at: date.toJSON() }));
    expect(error.message).not.toContain('extension');
  });

  const refusals: [string, (s: RapServiceClient<typeof S>) => Promise<unknown>, string][] = [
    ['parameters', (s) => s.when({ at: date }), 'the input of /s/when: at: a Date does not arrive'],
    [
      'an asynchronous schema',
      (s) => s.later({ at: date }),
      'the input of /s/later: at: a Date does not arrive',
    ],
    [
      'parameters of a stream',
      (s) => collect(s.streamOf({ at: date })),
      'the input of /s/streamOf: at: a Date does',
    ],
    [
      'items of an upload',
      (s) => s.upload([{ at: date }]),
      'the input of /s/upload: at: a Date does not arrive',
    ],
    ['an answer', (s) => s.gives(1), 'the output of /s/gives: at: a Date does not come'],
    [
      'an answer that a schema would make one of',
      (s) => s.coerces(1),
      'the output of /s/coerces: at: a Date does',
    ],
    ['items of a stream', (s) => collect(s.stream(1)), 'the output of /s/stream: at: a Date does not come'],
    [
      'a message that is written',
      async (s) => (await s.chat()).write({ at: date }),
      'the input of /s/chat: at: a Date does not arrive',
    ],
  ];
  it.each(refusals)('fails the call, for %s, and the server does not run', async (_, call, message) => {
    const client = await served(Foreign);
    for (const connected of [false, true]) {
      if (connected) await client.connect();
      const error = await rejection(call(client.service(S)));
      expect(error).toBeInstanceOf(ParseError);
      expect(error.message).toContain(message);
      expect(error.message).toContain('a server that does not offer the extension "values"');
    }
    expect(ran).toEqual([]);
    expect(client.stats()).toMatchObject({ inFlight: 0, channels: 0 });
  });

  it('fails the call for a message that is read', async () => {
    const client = await served(Foreign);
    const channel = await client.service(S).chat();
    const raw = channel as unknown as RapChannel;
    await raw.write({ at: date.toJSON() });

    expect((await rejection(channel.read())).message).toContain(
      'the output of /s/chat: at: a Date does not come',
    );
  });

  it('names all that an answer lacks', async () => {
    const client = await served(Foreign);

    const error = await rejection(client.service(S).givesAll(1));

    expect((error['details'] as { path: string }[]).map(({ path }) => path)).toEqual([
      'at[0]',
      'size',
      'names',
      'ids',
      'link',
    ]);
  });

  it('leaves it to the call to say what cannot be sent at all', async () => {
    const circle: Record<string, unknown> = { at: date };
    circle['self'] = circle;
    const client = await served(Foreign);
    const expected = await rejection(client.call('/s/held', circle));

    for (const lazy of [client, await served(Foreign)]) {
      const s = lazy.service(S);
      for (const call of [() => s.held(circle), () => collect(s.stream(circle))])
        expect((await rejection(call())).constructor).toBe(expected.constructor);
    }
  });

  it('takes what is sent as it is when the call is made', async () => {
    const s = (await served(Own)).service(S);
    const body = { at: 1 as unknown, list: [] as unknown[] };
    const input = { n: 1, at: new Map([['a', body]]) };
    const call = s.held(input);
    body.at = 2;

    expect(await call).toEqual({ n: 1, at: { a: { at: 1, list: [] } } });
  });

  it('is content with what can be made of a text, and with a text that is meant', async () => {
    const foreign = (await served(Foreign)).service(S);
    expect(await foreign.coerced(date)).toBe('taken');
    expect(await foreign.text(1)).toBe(date.toJSON());
    expect(await (await served(Own)).service(S).text(1)).toBe(date.toJSON());
  });

  it('is none over an ordinary connection', async () => {
    const { client } = await scope.serve([Own]);
    const s = client().service(S);
    for (let i = 0; i < 2; i++) {
      expect(await s.all(all)).toEqual(all);
      expect(await s.givesAll(1)).toEqual(all);
      expect(await s.coerces(1)).toEqual({ at: date });
      expect(await collect(s.stream(1))).toEqual([{ at: date }]);
      expect(await collect(s.streamOf({ at: date }))).toEqual([{ at: date }]);
      expect(await s.upload([{ at: date }])).toEqual([{ at: date }]);
    }
    const chat = await s.chat();
    await chat.write({ at: date });
    expect(await chat.read()).toEqual({ at: date });
    chat.close();
  });
});
