import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, take } from 'rxjs';
import {
  ChannelPattern,
  RapChannel,
  RapContext,
  type RapClientOperation,
  type RapOperation,
  type RapServerOperation,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';

const scope = testScope();
const KINDS = ['client.call', 'server.call', 'client.channel', 'server.channel'] as const;
const STEPS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;

/** Records what the tracing channels publish, until the test ends. */
function record(): { events: string[]; of: (kind: string) => RapOperation[] } {
  const events: string[] = [];
  const messages: RapOperation[] = [];
  const kinds = new Map<RapOperation, string>();
  for (const kind of KINDS) {
    const handlers = Object.fromEntries(
      STEPS.map((step) => [
        step,
        (message: unknown): void => {
          events.push(`${kind} ${step}`);
          if (step !== 'start') return;
          messages.push(message as RapOperation);
          kinds.set(message as RapOperation, kind);
        },
      ]),
    );
    const tracing = tracingChannel(`rap.${kind}`);
    tracing.subscribe(handlers as never);
    scope.defer(() => tracing.unsubscribe(handlers as never));
  }
  return { events, of: (kind) => messages.filter((it) => kinds.get(it) === kind) };
}

function shown({ kind, target, outcome, error, messagesSent, messagesReceived }: RapOperation): unknown {
  return [kind, target, outcome, error === undefined ? '' : 'error', messagesSent, messagesReceived];
}

const gate: { opened?: Gate } = {};
const context = new AsyncLocalStorage<string>();
const seen: unknown[] = [];
beforeEach(() => seen.splice(0));

function surround(message: unknown): void {
  (message as RapServerOperation).runWith((work) => context.run('inside', work));
}

@Controller()
class MathController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    seen.push(context.getStore());
    return a + b;
  }
  @MessagePattern('header') header(@Ctx() ctx: RapContext): unknown {
    return ctx.header['x-trace'];
  }
  @MessagePattern('fail') fail(): never {
    throw new Error('no');
  }
  @MessagePattern('unsendable') unsendable(): unknown {
    const circle: unknown[] = [];
    circle.push(circle);
    return circle;
  }
  @MessagePattern('hang') async hang(): Promise<void> {
    await gate.opened?.opened;
  }
  @MessagePattern('count') async *count(@Payload() n: number): AsyncGenerator<number> {
    try {
      for (let i = 0; i < n; i += 1) {
        seen.push(context.getStore());
        yield i;
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      seen.push(`finally ${context.getStore()}`);
    }
  }
  @ChannelPattern('echo') async echo(channel: RapChannel<number, number>): Promise<void> {
    for await (const message of channel) {
      seen.push(context.getStore());
      await channel.write(message);
    }
  }
  @EventPattern('told') told(): void {
    seen.push(context.getStore());
  }
}

it('publish the steps of a call on both sides, with one message for all of them', async () => {
  const { client } = await scope.serve([MathController]);
  const mine = client();
  await mine.connect();
  const { events, of } = record();

  expect(await mine.call('sum', { a: 1, b: 2 })).toBe(3);

  expect(events.filter((it) => it.startsWith('client'))).toEqual(
    ['start', 'end', 'asyncStart', 'asyncEnd'].map((it) => `client.call ${it}`),
  );
  await eventually('the end at the server', () => events.includes('server.call asyncEnd'));
  expect([...of('client.call'), ...of('server.call')].map(shown)).toEqual([
    ['unary', '/default/sum', 'OK', '', 1, 1],
    ['unary', '/default/sum', 'OK', '', 1, 1],
  ]);
  const [served] = of('server.call') as RapServerOperation[];
  expect(served?.method).toMatchObject({ group: 'default', name: 'sum' });
  expect(served?.connection.local.port).toBe(
    served && (of('client.call')[0] as RapClientOperation).server.split(':').map(Number)[1],
  );
  expect(served?.durationMs).toBeGreaterThanOrEqual(0);
});

it.each([
  ['fail', 'SERVER'],
  ['unsendable', 'SERVER'],
  ['missing', 'FUNC_NOT_FOUND'],
])('tell of the outcome of a call of %s: %s', async (name, outcome) => {
  const { client } = await scope.serve([MathController]);
  const { events, of } = record();

  await rejection(client().call(name));

  await eventually('the end at the server', () => events.includes('server.call asyncEnd'));
  expect(shown(of('client.call')[0] as RapOperation)).toEqual([
    'unary',
    `/default/${name}`,
    outcome,
    'error',
    1,
    0,
  ]);
  expect(shown(of('server.call')[0] as RapOperation)).toEqual([
    'unary',
    `/default/${name}`,
    outcome,
    'error',
    0,
    1,
  ]);
  const { method } = of('server.call')[0] as RapServerOperation;
  expect(method === undefined).toBe(name === 'missing');
});

it('tell of calls that are cancelled, and of those that the caller gives up', async () => {
  const { client } = await scope.serve([MathController]);
  const mine = client();
  await mine.connect();
  const { events, of } = record();
  gate.opened = new Gate();
  scope.defer(() => gate.opened?.open());
  const abort = new AbortController();
  const ends = (): number => events.filter((it) => it === 'server.call asyncEnd').length;

  const cancelled = rejection(mine.call('hang', {}, { signal: abort.signal }));
  const subscription = mine.send('hang', {}).subscribe();
  await eventually('both at the server', () => of('server.call').length === 2);
  abort.abort();
  subscription.unsubscribe();
  await cancelled;

  await eventually('both have ended', () => ends() === 2);
  expect(of('client.call').map((it) => [it.outcome, it.error !== undefined])).toEqual([
    ['CALL_CANCELLED', true],
    ['CALL_CANCELLED', false],
  ]);
  expect(of('server.call').map(({ outcome }) => outcome)).toEqual(['CALL_CANCELLED', 'CALL_CANCELLED']);
});

it('cover the whole life of streams and channels, and count their messages', async () => {
  const { client } = await scope.serve([MathController]);
  const mine = client();
  const { events, of } = record();

  const items: unknown[] = [];
  for await (const item of mine.stream('count', 3)) items.push(item);
  const channel = await mine.channel<number, number>('echo');
  await channel.write(1);
  await channel.read();
  expect(of('client.channel')[1]?.outcome).toBeUndefined();
  expect(of('client.channel')[1]?.messagesReceived).toBe(1);
  await channel.end();
  await channel.read();
  await firstValueFrom(mine.send('count', 5).pipe(take(1)));

  await eventually('all have ended', () => events.filter((it) => it.endsWith('asyncEnd')).length === 6);
  expect(of('client.channel').map(shown)).toEqual([
    ['stream', '/default/count', 'OK', '', 1, 3],
    ['channel', '/default/echo', 'OK', '', 1, 1],
  ]);
  expect(of('server.channel').map(shown)).toEqual([
    ['stream', '/default/count', 'OK', '', 3, 1],
    ['channel', '/default/echo', 'OK', '', 1, 1],
  ]);
  expect(of('client.call')[0]).toMatchObject({ kind: 'unary', outcome: 'CALL_CANCELLED', error: undefined });
  expect(of('server.call')[0]).toMatchObject({ outcome: 'CALL_CANCELLED' });
});

it('tell of a reader that leaves a stream, which is no failure', async () => {
  const { client } = await scope.serve([MathController]);
  const { events, of } = record();

  for await (const _ of client().stream('count', 1e6)) break;

  await eventually('both have ended', () => events.filter((it) => it.endsWith('asyncEnd')).length === 2);
  expect(of('client.channel')[0]).toMatchObject({ outcome: 'CALL_CANCELLED', error: undefined });
  expect(of('server.channel')[0]).toMatchObject({ outcome: 'CALL_CANCELLED' });
});

it('tell of events, and of calls that never reach a server', async () => {
  const { client, close } = await scope.serve([MathController]);
  const mine = client();
  const { events, of } = record();

  await firstValueFrom(mine.emit('told', 1), { defaultValue: undefined });
  await eventually('the event has ended', () => events.includes('server.call asyncEnd'));
  await close();
  await rejection(mine.call('sum', { a: 1, b: 2 }, { timeoutMs: 20 }));

  expect(shown(of('server.call')[0] as RapOperation)).toEqual(['event', '/default/told', 'OK', '', 0, 1]);
  expect(of('client.call').map(({ kind, outcome }) => [kind, outcome])).toEqual([
    ['event', 'OK'],
    ['unary', expect.stringMatching(/^(CALL_TIMEOUT|CONNECTION_LOST)$/)],
  ]);
});

describe('what subscribers set', () => {
  it('reaches the handler: headers, except those of the protocol', async () => {
    const { client } = await scope.serve([MathController]);
    const errors: unknown[] = [];
    const start = (message: unknown): void => {
      const call = message as RapClientOperation;
      call.setHeader('x-trace', 'abc');
      try {
        call.setHeader('target', '/other/one');
      } catch (error) {
        errors.push(error);
      }
    };
    const tracing = tracingChannel('rap.client.call').start;
    tracing.subscribe(start);
    scope.defer(() => tracing.unsubscribe(start));

    expect(await client().call('header')).toBe('abc');
    expect(errors).toEqual([new RangeError('header "target" is reserved by rap')]);
  });

  it('surrounds handlers: generators, their ends, channels and events too', async () => {
    const { client } = await scope.serve([MathController]);
    const mine = client();
    for (const name of ['rap.server.call', 'rap.server.channel']) {
      const tracing = tracingChannel(name).start;
      tracing.subscribe(surround);
      scope.defer(() => tracing.unsubscribe(surround));
    }

    await mine.call('sum', { a: 1, b: 2 });
    for await (const _ of mine.stream('count', 1)) void _;
    for await (const _ of mine.stream('count', 1e6)) break;
    const channel = await mine.channel<number, number>('echo');
    await channel.write(1);
    await channel.read();
    await firstValueFrom(mine.emit('told', 1), { defaultValue: undefined });
    await eventually(
      'the end of the stream that was left',
      () => seen.filter((it) => it === 'finally inside').length === 2,
    );

    await eventually('the event', () => seen.length >= 7);
    expect(new Set(seen)).toEqual(new Set(['inside', 'finally inside']));
  });

  it.each(['throws', 'does not run it', 'runs it twice'])(
    'cannot harm a call that it surrounds: it %s',
    async (how) => {
      const { client } = await scope.serve([MathController]);
      const start = (message: unknown): void =>
        (message as RapServerOperation).runWith((work) => {
          if (how === 'runs it twice') work();
          if (how === 'runs it twice') work();
        });
      const tracing = tracingChannel('rap.server.call').start;
      tracing.subscribe(start);
      scope.defer(() => tracing.unsubscribe(start));

      expect(await client().call('sum', { a: 1, b: 2 })).toBe(3);
      expect(seen).toHaveLength(1);
    },
  );
});
