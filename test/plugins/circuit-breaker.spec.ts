import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  CallCancelledError,
  CircuitBreakerProcessor,
  FuncNotFoundError,
  OverloadError,
  ParseError,
  type RapClient,
  type RapClientOptions,
  ServerError,
  TooManyRequestsError,
  type Breaker,
} from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

const scope = testScope();
let calls = 0;

@Controller()
class Handlers {
  @MessagePattern('work')
  work(@Payload() outcome: string): string {
    calls += 1;
    if (outcome === 'server') throw new ServerError('broken');
    if (outcome === 'busy') throw new TooManyRequestsError('busy');
    if (outcome === 'parse') throw new ParseError('bad parameters');
    if (outcome === 'missing') throw new FuncNotFoundError('no such thing');
    return outcome;
  }

  @MessagePattern('other')
  other(): string {
    return 'other';
  }

  @MessagePattern('hang', { timeoutMs: 10_000 })
  hang(): Promise<never> {
    return new Promise(() => {});
  }

  @MessagePattern('slow', { timeoutMs: 5 })
  slow(): Promise<never> {
    return new Promise(() => {});
  }

  @MessagePattern('count')
  *count(@Payload() n: number): Generator<number> {
    for (let i = 0; i < n; i++) yield i;
    if (n > 3) throw new ServerError('broken');
  }

  @EventPattern('told')
  told(@Payload() _body: unknown): void {}
}

/** Notes what a breaker is told, and says what the test wants. */
class Notes {
  readonly told: string[] = [];
  open = false;

  readonly breaker = (key: string): Breaker => {
    const target = key.split(' ').at(-1) ?? '';
    return {
      allow: () => {
        this.told.push(`asked ${target}`);
        return !this.open;
      },
      success: () => void this.told.push(`success ${target}`),
      failure: () => void this.told.push(`failure ${target}`),
    };
  };

  /** What was told since. */
  take(): string[] {
    return this.told.splice(0);
  }
}

async function called(
  processor: CircuitBreakerProcessor,
  options: RapClientOptions = {},
): Promise<RapClient> {
  calls = 0;
  const { client } = await scope.serve([Handlers]);
  return client({ processors: [processor], ...options });
}

it('rejects calls to a server that fails, before they are sent, and calls it again when it is well', async () => {
  const clock = new FakeClock();
  let dice = 0.999;
  const client = await called(new CircuitBreakerProcessor({ clock, random: () => dice }));
  for (let i = 0; i < 20; i++)
    await expect(client.call('work', 'server')).rejects.toBeInstanceOf(ServerError);
  dice = 0.9;
  const error = await rejection(client.call('work', 'fine'));
  expect(error).toBeInstanceOf(OverloadError);
  expect(error).toMatchObject({
    code: 'ERR_RAP_OVERLOAD',
    message: '/default/work fails too often: not called',
  });
  expect(calls).toBe(20);
  // another target of the same server is another matter
  expect(await client.call('other', null)).toBe('other');
  // some go through, and find it well
  dice = 0.999;
  for (let i = 0; i < 25; i++) expect(await client.call('work', 'fine')).toBe('fine');
  dice = 0;
  expect(await client.call('work', 'fine')).toBe('fine');
  expect(client.stats().inFlight).toBe(0);
});

it('forgets after the window', async () => {
  const clock = new FakeClock();
  let dice = 0.999;
  const client = await called(new CircuitBreakerProcessor({ clock, random: () => dice, windowMs: 1000 }));
  for (let i = 0; i < 5; i++) await rejection(client.call('work', 'busy'));
  dice = 0;
  await expect(client.call('work', 'fine')).rejects.toBeInstanceOf(OverloadError);
  clock.advance(2000);
  expect(await client.call('work', 'fine')).toBe('fine');
});

it.each([
  ['fine', 'success'],
  ['server', 'failure'],
  ['busy', 'failure'],
  ['parse', 'success'],
  ['missing', 'success'],
])('a call that gives %s is a %s', async (outcome, expected) => {
  const notes = new Notes();
  const client = await called(new CircuitBreakerProcessor({ breaker: notes.breaker }));
  await client.call('work', outcome).catch(() => {});
  expect(notes.take()).toEqual(['asked /default/work', `${expected} /default/work`]);
});

it('timeouts of either side and lost connections are failures; a cancelled call is nothing', async () => {
  const notes = new Notes();
  calls = 0;
  const app = await scope.serve([Handlers], { closeTimeoutMs: 0 });
  const processors = [new CircuitBreakerProcessor({ breaker: notes.breaker })];
  const client = app.client({ processors, reconnect: false });
  await client.connect();
  await rejection(client.call('slow', null));
  expect(notes.take()).toEqual(['asked /default/slow', 'failure /default/slow']);
  await rejection(client.call('hang', null, { timeoutMs: 5 }));
  expect(notes.take()).toEqual(['asked /default/hang', 'failure /default/hang']);

  const controller = new AbortController();
  const cancelled = client.call('hang', null, { signal: controller.signal });
  await Promise.resolve();
  controller.abort();
  expect(await rejection(cancelled)).toBeInstanceOf(CallCancelledError);
  expect(notes.take()).toEqual(['asked /default/hang']);

  const lost = client.call('hang', null);
  await Promise.all([rejection(lost), app.close()]);
  expect(notes.take()).toEqual(['asked /default/hang', 'failure /default/hang']);
});

it('a stream counts once, by how it ends', async () => {
  const notes = new Notes();
  const client = await called(new CircuitBreakerProcessor({ breaker: notes.breaker }));
  const items: number[] = [];
  for await (const item of client.stream<number>('count', 3)) items.push(item);
  expect(items).toHaveLength(3);
  expect(notes.take()).toEqual(['asked /default/count', 'success /default/count']);
  await expect(
    (async () => {
      for await (const item of client.stream<number>('count', 4)) items.push(item);
    })(),
  ).rejects.toBeInstanceOf(ServerError);
  expect(notes.take()).toEqual(['asked /default/count', 'failure /default/count']);
  notes.open = true;
  await expect(client.stream('count', 1)[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(
    OverloadError,
  );
  expect(notes.take()).toEqual(['asked /default/count']);
});

it('leaves events alone', async () => {
  const notes = new Notes();
  notes.open = true;
  const client = await called(new CircuitBreakerProcessor({ breaker: notes.breaker }));
  await client.connect();
  await new Promise<void>((resolve, reject) => {
    client.emit('told', 1).subscribe({ complete: resolve, error: reject });
  });
  expect(notes.take()).toEqual([]);
});

it('takes another key and another judgement', async () => {
  const notes = new Notes();
  const client = await called(
    new CircuitBreakerProcessor({
      breaker: notes.breaker,
      key: () => 'everything',
      isFailure: (error) => error instanceof ParseError,
    }),
  );
  await client.call('work', 'parse').catch(() => {});
  await client.call('work', 'server').catch(() => {});
  expect(notes.take()).toEqual([
    'asked everything',
    'failure everything',
    'asked everything',
    'success everything',
  ]);
});

it('keeps a limited number of breakers', async () => {
  const made: string[] = [];
  const keys = ['a', 'b', 'a', 'c', 'a', 'b'];
  let call = 0;
  const client = await called(
    new CircuitBreakerProcessor({
      maxKeys: 2,
      key: () => keys[call++] ?? '',
      breaker: (key) => {
        made.push(key);
        return { allow: () => true, success: () => {}, failure: () => {} };
      },
    }),
  );
  for (const _ of keys) await client.call('other', null);
  expect(made).toEqual(['a', 'b', 'c', 'b']);
});

it.each([
  [{ k: 0.5 }, 'k must be a number of at least 1, got 0.5'],
  [{ windowMs: 0 }, 'windowMs must be a number above 0, got 0'],
  [{ maxKeys: 0 }, 'maxKeys must be a number of at least 1, got 0'],
])('refuses %j', (options, message) => {
  expect(() => new CircuitBreakerProcessor(options)).toThrow(new RangeError(message));
});
