import { AsyncLocalStorage } from 'node:async_hooks';
import { type CanActivate, Controller, type ExecutionContext, UseGuards } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { finalize, lastValueFrom, retry, tap } from 'rxjs';
import {
  ChannelPattern,
  type ProcessorContext,
  type RapChannel,
  RapClient,
  type RapClientOptions,
  type RapContext,
  type RapProcessor,
} from '../../lib/index.js';
import { eventually, Gate, testScope } from '../helpers/async.js';

const scope = testScope();
const caller = new AsyncLocalStorage<string>();
/** What was found where something ran: `<what>: <caller>`. */
const seen: string[] = [];
let gate: Gate;
beforeEach(() => {
  seen.length = 0;
  gate = new Gate();
});

const note = (what: string): void => void seen.push(`${what}: ${caller.getStore()}`);

/** Runs work as this caller. */
const as = <T>(name: string, work: () => T): T => caller.run(name, work);

class Enter implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    caller.enterWith(`the handler of ${context.switchToRpc().getContext<RapContext>().name}`);
    return true;
  }
}

@Controller()
class Things {
  @MessagePattern('echo') echo(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('fail') fail(@Payload() _body: unknown): never {
    throw new Error('no');
  }

  @MessagePattern('gate') async gate(): Promise<void> {
    await gate.opened;
  }

  @MessagePattern('count') async *count(@Payload() n: number): AsyncIterable<number> {
    for (let i = 1; i <= n; i++) yield i;
  }

  @UseGuards(Enter) @MessagePattern('hang') async *hang(): AsyncIterable<string> {
    try {
      for (;;) yield 'x'.repeat(64 * 1024);
    } finally {
      note('left');
    }
  }

  @UseGuards(Enter) @MessagePattern('watch') async *watch(
    @Ctx() { signal }: RapContext,
  ): AsyncIterable<number> {
    signal.addEventListener('abort', () => note('aborted'));
    yield 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  }

  @ChannelPattern('upper') async upper(channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line.toUpperCase());
  }

  @EventPattern('happened') happened(@Payload() _body: unknown): void {}
}

/** Reads the context in each of its steps; what belongs to which call is told by the body or the target. */
class Reader implements RapProcessor {
  processRequest({ body }: { body: unknown }): void {
    note(`request ${JSON.stringify(body)}`);
  }

  processResponse({ body }: { body: unknown }): void {
    note(`response ${JSON.stringify(body)}`);
  }

  onContextEnter({ kind }: ProcessorContext): void {
    note(`enter ${kind}`);
  }

  onContextExit({ kind }: ProcessorContext): void {
    note(`exit ${kind}`);
  }
}

/** A client whose connection another call has opened. */
async function clientOf(options?: RapClientOptions): Promise<RapClient> {
  const test = await scope.serve([Things]);
  const client = test.client(options);
  await as('the first', () => client.call('echo', 0));
  seen.length = 0;
  return client;
}

it('processors of a client work in the context of each call, also of calls that have waited for their turn', async () => {
  const client = await clientOf({ processors: [new Reader()], limits: { maxInFlight: 4 } });
  const bodies = Array.from({ length: 60 }, (_, i) => i);
  await Promise.all(bodies.map((i) => as(`${i}`, () => client.call('echo', i))));
  for (const i of bodies) {
    expect(seen).toContain(`request ${i}: ${i}`);
    expect(seen).toContain(`response ${i}: ${i}`);
    for (const step of ['enter', 'exit'])
      expect(seen.filter((it) => it === `${step} call: ${i}`)).toHaveLength(1);
  }
});

it('processors learn of the end of a call in its context: an error, a timeout, a lost connection', async () => {
  const client = await clientOf({ processors: [new Reader()] });
  await as('error', () => client.call('fail')).catch(() => {});
  await as('timeout', () => client.call('gate', null, { timeoutMs: 20 })).catch(() => {});
  const lost = as('lost', () => client.call('gate'));
  client.unwrap<{ destroy(): void }>().destroy();
  await lost.catch(() => {});
  gate.open();
  for (const each of ['error', 'timeout', 'lost']) expect(seen).toContain(`exit call: ${each}`);
});

it('processors work on the messages of a stream in the context of its reader', async () => {
  const client = await clientOf({ processors: [new Reader()] });
  await as('A', async () => {
    for await (const item of client.stream('count', 3)) note(`item ${JSON.stringify(item)}`);
  });
  await eventually('it has ended', () => seen.includes('exit channel: A'));
  expect(seen.filter((it) => !it.endsWith(': A'))).toEqual([]);
  expect(seen.filter((it) => it.startsWith('item'))).toHaveLength(3);
});

it('processors work on an event in the context of its sender', async () => {
  const client = await clientOf({ processors: [new Reader()] });
  await as('A', () => lastValueFrom(client.emit('happened', 1), { defaultValue: null }));
  expect(seen.filter((it) => !it.endsWith(': A'))).toEqual([]);
  expect(seen).toContain('exit event: A');
});

it('operators behind send() run in the context of the subscriber', async () => {
  const client = await clientOf({ limits: { maxInFlight: 1 } });
  const send = (name: string, pattern: string, data: unknown): Promise<unknown> =>
    as(name, () =>
      lastValueFrom(
        client.send(pattern, data).pipe(
          tap({ next: () => note('next'), error: () => note('error'), complete: () => note('complete') }),
          finalize(() => note('finally')),
        ),
      ).catch(() => {}),
    );
  await Promise.all([send('A', 'echo', 1), send('B', 'fail', 1), send('C', 'count', 2)]);
  expect(seen.filter((it) => it.endsWith(': A'))).toEqual(['next: A', 'complete: A', 'finally: A']);
  expect(seen.filter((it) => it.endsWith(': B'))).toEqual(['error: B', 'finally: B']);
  expect(seen.filter((it) => it.endsWith(': C'))).toEqual([
    'next: C',
    'next: C',
    'complete: C',
    'finally: C',
  ]);
  expect(seen).toHaveLength(9);
});

it('a call that is tried again by an operator is made in the context of the subscriber', async () => {
  const client = await clientOf({ processors: [new Reader()] });
  await as('A', () => lastValueFrom(client.send('fail', 1).pipe(retry(2))).catch(() => {}));
  expect(seen.filter((it) => it === 'enter call: A')).toHaveLength(3);
});

it('who subscribes to an event hears of it in its own context', async () => {
  const client = await clientOf();
  const sent = as('the sender', () => client.emit('happened', 1));
  await as('the subscriber', () =>
    lastValueFrom(sent.pipe(tap({ complete: () => note('complete') })), { defaultValue: 0 }),
  );
  expect(seen).toEqual(['complete: the subscriber']);
});

it('messages of a channel come as an Observable in the context of the subscriber', async () => {
  const client = await clientOf();
  const channel = await as('the opener', () => client.channel<string, string>('upper'));
  as('the subscriber', () => channel.toObservable().subscribe(note));
  as('the listener', () => channel.signal.addEventListener('abort', () => note('over')));
  await channel.write('a');
  await eventually('it comes', () => seen.length > 0);
  channel.close();
  expect(seen).toEqual(['A: the subscriber', 'over: the listener']);
});

it('a deserializer of Nest and a method of a subclass that shows answers run in the context of the caller', async () => {
  const test = await scope.serve([Things]);
  class Shown extends RapClient {
    protected override serializeResponse(response: unknown): unknown {
      note('shown');
      return response;
    }

    protected override serializeError(error: unknown): unknown {
      note('shown error');
      return error;
    }
  }
  const own = new Shown({ port: test.port, host: '127.0.0.1' });
  scope.defer(() => own.close());
  const decoding = test.client({
    deserializer: {
      deserialize(value: unknown) {
        note('decoded');
        return value;
      },
    } as never,
  });
  for (const client of [own, decoding]) await client.connect();
  await as('A', () => own.call('echo', 1));
  await as('B', () => own.call('fail')).catch(() => {});
  await as('C', () => decoding.call('echo', 1));
  expect(seen).toEqual(['shown: A', 'shown error: B', 'decoded: C']);
});

it('a handler that is left is told in its own context', async () => {
  const client = await clientOf();
  for (const pattern of ['hang', 'watch']) for await (const item of client.stream(pattern)) if (item) break;
  await eventually('both are told', () => seen.length === 2);
  expect(seen).toEqual(['left: the handler of hang', 'aborted: the handler of watch']);
});
