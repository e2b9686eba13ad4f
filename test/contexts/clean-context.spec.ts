import { AsyncLocalStorage } from 'node:async_hooks';
import { type CanActivate, Controller, type ExecutionContext, UseGuards } from '@nestjs/common';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import {
  ChannelPattern,
  type ProcessorContext,
  type RapChannel,
  type RapClient,
  type RapContext,
  type RapServerOptions,
} from '../../lib/index.js';
import { CleanContext } from '../../lib/rpc/context/async-context.js';
import { eventually, testScope } from '../helpers/async.js';

const scope = testScope();
const user = new AsyncLocalStorage<string>();
/** What the handlers without a user of their own have seen. */
const seen: unknown[] = [];
beforeEach(() => (seen.length = 0));

const note = (): void => void seen.push(user.getStore() ?? 'nobody');

/** Says who the user is, for all that follows: in the resource that is running, whose it is. */
const enter = (target: string): void => {
  note();
  if (target.endsWith('/a')) user.enterWith('the user of a');
};

class Enter implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    enter(context.switchToRpc().getContext<RapContext>().target);
    return true;
  }
}

@Controller()
@UseGuards(Enter)
class Guarded {
  @MessagePattern(['/calls/a', '/calls/b'])
  call(): void {}

  @EventPattern(['/events/a', '/events/b'])
  event(): void {}

  @MessagePattern(['/streams/a', '/streams/b'])
  async *stream(): AsyncIterable<string> {
    note();
    yield 'item';
    note();
  }

  @ChannelPattern('/channels/a') async channelA(channel: RapChannel): Promise<void> {
    await channel.read();
  }

  @ChannelPattern('/channels/b') async channelB(channel: RapChannel): Promise<void> {
    await channel.read();
  }
}

@Controller()
class Plain {
  @MessagePattern(['/calls/a', '/calls/b'])
  call(): void {}
}

/** Ways of the client to have a function run, each to its end. */
const WAYS: Readonly<Record<string, (client: RapClient, target: string) => Promise<unknown>>> = {
  calls: (client, target) => client.call(target),
  events: async (client, target) => client.emit(target, 1),
  streams: async (client, target) => {
    for await (const item of client.stream(target)) expect(item).toBe('item');
  },
  channels: async (client, target) => {
    const channel = await client.channel(target);
    await channel.write(1);
    for await (const nothing of channel) expect(nothing).toBeUndefined();
  },
};

/** Runs a, then b behind it in the same chunk, then b again in a chunk of its own. */
async function runAll(client: RapClient, way: string): Promise<void> {
  await client.connect();
  const run = WAYS[way] as (client: RapClient, target: string) => Promise<unknown>;
  await Promise.all([run(client, `/${way}/a`), run(client, `/${way}/b`)]);
  await client.ping();
  await run(client, `/${way}/b`);
  await client.ping();
}

it.each([
  ['calls', 3],
  ['events', 3],
  ['channels', 3],
])('what a guard enters for one handler is not there for the next: %s', async (way, count) => {
  const test = await scope.serve([Guarded]);
  await runAll(test.client(), way);
  await eventually('all have run', () => seen.length >= count);
  expect(seen).toEqual(Array<string>(count).fill('nobody'));
});

it('what a guard enters for one stream is there for its items, and not for the next', async () => {
  const test = await scope.serve([Guarded]);
  await runAll(test.client(), 'streams');
  expect(seen.filter((it) => it === 'the user of a')).toHaveLength(2);
  expect(seen.filter((it) => it === 'nobody')).toHaveLength(7);
});

const OPTIONS: Readonly<Record<string, RapServerOptions>> = {
  'a processor': {
    processors: [{ processRequest: (_request, { target }: ProcessorContext) => enter(target) }],
  },
  authorize: {
    authorize: ({ target }) => {
      enter(target);
      return true;
    },
  },
  'a message middleware': {
    middleware: [
      {
        scope: 'message',
        use: (request: { header: { target?: string } }, next: () => Promise<unknown>) => {
          enter(String(request.header.target));
          return next();
        },
      },
    ] as never,
  },
};

it.each(Object.keys(OPTIONS))('what %s enters for one call is not there for the next', async (name) => {
  const test = await scope.serve([Plain], OPTIONS[name]);
  await runAll(test.client(), 'calls');
  expect(seen).toEqual(['nobody', 'nobody', 'nobody']);
});

it('what a hook before requests enters for one call is not there for the next', async () => {
  const test = await scope.serve([Plain], {
    prepare: (app) =>
      app.registerPreRequestHook((context, next) => {
        enter(context.switchToRpc().getContext<RapContext>().target);
        return next();
      }),
  });
  await runAll(test.client(), 'calls');
  expect(seen).toEqual(['nobody', 'nobody', 'nobody']);
});

it('what a middleware enters for one connection is not there for its calls, nor for the next connection', async () => {
  const test = await scope.serve([Guarded], {
    middleware: [
      {
        scope: 'connection',
        use: (_connection: unknown, next: () => Promise<void>) => {
          note();
          user.enterWith('a connection');
          return next();
        },
      },
    ] as never,
  });
  await runAll(test.client(), 'calls');
  await runAll(test.client(), 'calls');
  expect(seen).toEqual(Array<string>(8).fill('nobody'));
});

it('handlers run in the context in which the server was told to listen', async () => {
  const test = await user.run('the application', () => scope.serve([Guarded]));
  await runAll(test.client(), 'calls');
  expect(seen).toEqual(Array<string>(3).fill('the application'));
});

it('what a processor enters is there for the handler', async () => {
  @Controller()
  class Reader {
    @MessagePattern('/calls/a') read(): string | undefined {
      return user.getStore();
    }
  }
  const test = await scope.serve([Reader], OPTIONS['a processor']);
  expect(await test.client().call('/calls/a')).toBe('the user of a');
});

it('a connection that a call opens does not carry the context of that call', async () => {
  const test = await scope.serve([Plain]);
  const client = test.client({ reconnect: { baseDelayMs: 1 } });
  client.on('connect', note);
  client.on('reconnecting', note);
  await user.run('the first caller', () => client.call('/calls/b'));
  client.unwrap<{ destroy(): void }>().destroy();
  await eventually('the connection is back', () => seen.length === 3);
  expect(seen).toEqual(['nobody', 'nobody', 'nobody']);
});

it('a piece of work begins where the origin was made, whatever others have entered', () => {
  const storage = new AsyncLocalStorage<number>();
  const clean = storage.run(1, () => new CleanContext());
  const run = (store: number): number | undefined =>
    clean.run(
      (next: number) => {
        const before = storage.getStore();
        storage.enterWith(next);
        return before;
      },
      undefined,
      store,
    );
  storage.run(2, () => {
    expect([run(3), run(4)]).toEqual([1, 1]);
    expect(storage.getStore()).toBe(2);
  });
});

it('work of a piece that goes on later keeps what it has entered', async () => {
  const storage = new AsyncLocalStorage<number>();
  const clean = new CleanContext();
  const later = async (own: number): Promise<number | undefined> => {
    storage.enterWith(own);
    await new Promise((resolve) => setImmediate(resolve));
    return storage.getStore();
  };
  expect(await Promise.all([1, 2, 3].map((own) => clean.run(later, undefined, own)))).toEqual([1, 2, 3]);
});
