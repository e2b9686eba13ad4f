import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { type CanActivate, Controller, Injectable, UseGuards } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { fromEvent, interval, lastValueFrom, map, type Observable, takeUntil, toArray } from 'rxjs';
import {
  ChannelPattern,
  defineService,
  type RapChannel,
  type RapClient,
  type RapContext,
  RapService,
  serverStream,
} from '../../lib/index.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { eventually, sorted, turn, within } from '../helpers/async.js';
import { aborted, collect, idle } from '../helpers/streams.js';
import { gate, notes, probe, scope } from '../helpers/stream-scope.js';

/** Far more than a test may take: nothing here waits for it. */
const CLOSE_TIMEOUT_MS = 60_000;

const Feeds = defineService('feeds', { ticks: serverStream<void, number>() });

/** Never ends by itself. */
async function* ticks(ctx: RapContext): AsyncGenerator<number> {
  probe.begin(ctx);
  try {
    while (!ctx.draining.aborted) {
      yield probe.produced++;
      // the next item is far away
      if (probe.produced % 10 === 0) await wait(120_000, undefined, { signal: ctx.draining }).catch(() => {});
    }
    yield probe.produced++;
  } finally {
    probe.ended += 1;
  }
}

@Injectable()
class GateGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    probe.begin();
    await gate.opened;
    return true;
  }
}

@Controller()
class FeedController {
  @MessagePattern('ticks') ticks(@Ctx() ctx: RapContext): AsyncIterable<number> {
    return ticks(ctx);
  }

  @MessagePattern('observable') observable(@Ctx() ctx: RapContext): Observable<number> {
    probe.begin(ctx);
    return interval(1).pipe(
      map(() => probe.produced++),
      takeUntil(fromEvent(ctx.draining, 'abort')),
    );
  }

  @MessagePattern('poll') async poll(@Ctx() ctx: RapContext): Promise<string> {
    probe.begin(ctx);
    await aborted(ctx.draining);
    return `nothing new; still wanted: ${!ctx.signal.aborted}`;
  }

  @ChannelPattern('chat') async chat(@Payload() channel: RapChannel, @Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await channel.write('hello');
    await aborted(ctx.draining);
    await channel.write('bye');
  }

  @EventPattern('job') async job(@Ctx() ctx: RapContext): Promise<void> {
    probe.begin(ctx);
    await aborted(ctx.draining);
    notes.push('job');
  }

  @EventPattern('job') async otherJob(@Ctx() ctx: RapContext): Promise<void> {
    await aborted(ctx.draining);
    notes.push('other job');
  }

  /** Begins when the server drains already. */
  @UseGuards(GateGuard)
  @MessagePattern('late')
  async late(@Ctx() ctx: RapContext): Promise<boolean> {
    const isAborted = ctx.draining.aborted;
    // one that only listens hears of it, too
    await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve, { once: true }));
    return isAborted;
  }

  @MessagePattern('echo') echo(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('ask') ask(@Ctx() ctx: RapContext): boolean {
    return ctx.draining === ctx.draining && ctx.draining.aborted;
  }

  @MessagePattern('gated') async gated(@Ctx() ctx: RapContext): Promise<boolean> {
    probe.begin(ctx);
    await gate.opened;
    return ctx.draining.aborted;
  }
}

@RapService(Feeds)
class FeedsController {
  ticks(_: void, ctx: RapContext): AsyncIterable<number> {
    return ticks(ctx);
  }
}

async function start() {
  const test = await scope.serve([FeedController, FeedsController], { closeTimeoutMs: CLOSE_TIMEOUT_MS });
  const mine = test.client({ reconnect: false });
  scope.defer(() => gate.open());
  return { ...test, mine };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('an endless feed that ends with ctx.draining', () => {
  const FEEDS: Record<string, (client: RapClient) => Promise<unknown>> = {
    'stream()': (client) => collect(client.stream('ticks')),
    'stream() of an Observable': (client) => collect(client.stream('observable')),
    'send()': (client) => lastValueFrom(client.send('ticks', null).pipe(toArray())),
    'service()': (client) => collect(client.service(Feeds).ticks()),
  };

  it.each(Object.keys(FEEDS))('ends in order at app.close(), and all its items arrive: %s', async (way) => {
    const { app, mine, server } = await start();
    const items = FEEDS[way]?.(mine) as Promise<unknown>;
    await eventually('it feeds', () => probe.produced >= 10);
    await within('the close', app.close());
    expect(await items).toEqual(upTo(probe.produced));
    expect(server.stats()).toMatchObject({ connections: 0, inFlight: 0 });
  });

  it('does so at server.drain(), for every connection', async () => {
    const { client, server } = await start();
    const feeds = Array.from({ length: 3 }, () =>
      collect(client({ reconnect: false }).stream<number>('ticks')),
    );
    await eventually('they feed', () => probe.started === 3 && probe.produced >= 10);
    await within('the drain', server.drain());
    expect((await Promise.all(feeds)).flat().toSorted((a, b) => a - b)).toEqual(upTo(probe.produced));
    expect(probe.ended).toBe(3);
  });
});

describe('ctx.draining', () => {
  it('is told to calls, channels and events as well', async () => {
    const { app, mine } = await start();
    const poll = mine.call('poll');
    const channel = await mine.channel('chat');
    mine.emit('job', {});
    await eventually('they run', () => probe.started === 3);
    expect(await channel.read()).toBe('hello');
    const closing = app.close();
    expect(await poll).toBe('nothing new; still wanted: true');
    expect(await channel.read()).toBe('bye');
    expect(await channel.read()).toBeUndefined();
    await channel.closed;
    await within('the close', closing);
    expect(sorted(notes)).toEqual(['job', 'other job']);
  });

  it('is aborted before a handler that begins later, which still hears of it', async () => {
    const { app, mine } = await start();
    const late = mine.call('late');
    await eventually('the guard is asked', () => probe.started === 1);
    const closing = app.close();
    await turn();
    gate.open();
    expect(await late).toBe(true);
    await within('the close', closing);
  });

  it('is aborted for a handler that asks only then', async () => {
    const { app, mine } = await start();
    const gated = mine.call('gated');
    await eventually('it runs', () => probe.started === 1);
    const closing = app.close();
    await turn();
    gate.open();
    expect(await gated).toBe(true);
    await within('the close', closing);
  });

  it('is not aborted by anything else', async () => {
    const { mine, server } = await start();
    expect(await mine.call('ask')).toBe(false);
    const controller = new AbortController();
    const iterator = mine.stream('ticks', null, { signal: controller.signal })[Symbol.asyncIterator]();
    await iterator.next();
    const { draining } = probe.contexts[0] as RapContext;
    controller.abort();
    await eventually('the handler is told', () => probe.aborted === 1);
    expect(draining.aborted).toBe(false);
    await within('the drain', server.drain());
    await idle({ server });
  });

  it('says why', async () => {
    const { app, mine } = await start();
    const feed = collect(mine.stream('ticks'));
    await eventually('it feeds', () => probe.produced >= 10);
    const { draining } = probe.contexts[0] as RapContext;
    await within('the close', app.close());
    await feed;
    expect(draining.reason).toMatchObject({ message: 'the server shuts down' });
  });

  it('costs a handler nothing that does not ask for it', async () => {
    const { app, mine } = await start();
    await mine.call('echo', 1);
    const original = globalThis.AbortController;
    let made = 0;
    class Counted extends original {
      constructor() {
        super();
        made += 1;
      }
    }
    globalThis.AbortController = Counted;
    try {
      for (let i = 0; i < 100; i++) await mine.call('echo', i);
      expect(made).toBe(0);
      for (let i = 0; i < 100; i++) await mine.call('ask');
      expect(made).toBe(100);
      await within('the close', app.close());
      expect(made).toBe(100);
    } finally {
      globalThis.AbortController = original;
    }
  });
});
