import 'reflect-metadata';
import { Controller, UseInterceptors } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom, type Observable, tap } from 'rxjs';
import {
  CallCancelledError,
  CallTimeoutError,
  RapClient,
  RapContext,
  type RapCallOptions,
} from '../../../lib/index.js';
import { eventually, Gate, rejection, testScope, type ServedApp, warnsOfLeak } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';

const scope = testScope();
const around = {
  intercept: (_: unknown, next: { handle(): Observable<unknown> }) => next.handle().pipe(tap({})),
};

/** What the backend has seen, in this test. */
let calls: RapContext[] = [];
let finish = new Gate();
beforeEach(() => {
  calls = [];
  finish = new Gate();
});

@Controller()
class BackendController {
  @MessagePattern('hold') async hold(@Payload() data: unknown, @Ctx() ctx: RapContext): Promise<unknown> {
    calls.push(ctx);
    await finish.opened;
    return data;
  }
  @MessagePattern('left') left(@Ctx() ctx: RapContext): number {
    return (ctx.deadline ?? Infinity) - Date.now();
  }
  @EventPattern('seen') seen(@Payload() _: unknown, @Ctx() ctx: RapContext): void {
    calls.push(ctx);
  }
}

describe('what a call tells its handler', () => {
  const ways: [string, (rap: RapClient, signal: AbortSignal) => void][] = [
    ['the signal of a call', (rap, signal) => rap.call('hold', 1, { signal }).catch(() => {})],
    [
      'unsubscribing from send',
      (rap, signal) => {
        const subscription = rap.send('hold', 1).subscribe();
        signal.addEventListener('abort', () => subscription.unsubscribe());
      },
    ],
    [
      'close of the client',
      (rap, signal) => {
        rap.call('hold', 1).catch(() => {});
        signal.addEventListener('abort', () => rap.close());
      },
    ],
  ];
  it.each(ways)('%s aborts ctx.signal', async (_, start) => {
    const { client } = await scope.serve([BackendController]);
    const controller = new AbortController();
    start(client(), controller.signal);
    await eventually('the call', () => calls.length);
    const { signal } = calls[0] as RapContext;
    expect(signal.aborted).toBe(false);

    controller.abort();

    await eventually('the abort', () => signal.aborted);
    finish.open();
  });

  it('the time of the caller aborts ctx.signal and is its deadline, if it is shorter', async () => {
    const time = scope.stopTime();
    const { client } = await scope.serve([BackendController]);
    const rap = client();
    await rap.connect();

    expect(await rap.call('left', null, { timeoutMs: 1000 })).toBeLessThanOrEqual(1000);
    expect(await rap.call('left', null, { deadline: new Date(Date.now() + 2000) })).toBeLessThanOrEqual(2001);
    expect(await rap.call('left', null, { timeoutMs: 60_000 })).toBeLessThanOrEqual(9000);
    const error = rejection(rap.call('hold', 1, { timeoutMs: 40 }));
    await eventually('the call', () => calls.length);
    time.pass(40);
    await eventually('the abort', () => calls[0]?.signal.aborted);

    expect(await error).toBeInstanceOf(CallTimeoutError);
    finish.open();
  });

  it('a call that timed out at the client is a CallTimeoutError, though the server gave it up at the same time', async () => {
    const { client } = await scope.serve([BackendController]);
    const rap = client();
    await rap.connect();

    for (let round = 0; round < 10; round++) {
      // oxlint-disable-next-line no-await-in-loop
      expect(await rejection(rap.call('hold', 1, { timeoutMs: 10 }))).toBeInstanceOf(CallTimeoutError);
    }
    finish.open();
  });
});

/** A gateway in front of the backend; its clients close with the test. */
async function gateway(
  options: RapCallOptions = {},
): Promise<{ backend: ServedApp; front: ServedApp; inner: Promise<unknown>[] }> {
  const backend = await scope.serve([BackendController]);
  const inner: Promise<unknown>[] = [];
  const math = backend.client();
  @Controller()
  class GatewayController {
    @MessagePattern('hold') hold(): Promise<unknown> {
      const call = math.call('hold', 1, options);
      inner.push(call.catch((error: unknown) => error));
      return call;
    }
    @UseInterceptors(around)
    @MessagePattern('intercepted')
    intercepted(): Promise<unknown> {
      return this.hold();
    }
    @MessagePattern('observable') observable(): Observable<unknown> {
      return math.send('hold', 1);
    }
    @MessagePattern('left', { timeoutMs: 3000 }) left(): Promise<unknown> {
      return math.call('left', null, options);
    }
    @MessagePattern('emit') async emit(): Promise<void> {
      await lastValueFrom(math.emit('seen', 1));
    }
    @MessagePattern('background') background(): string {
      void this.hold().catch(() => {});
      return 'answered';
    }
  }
  const front = await scope.serve([GatewayController]);
  return { backend, front, inner };
}

describe('a call inside a handler', () => {
  it.each(['hold', 'intercepted', 'observable'])('is cancelled with it: %s', async (pattern) => {
    const { front } = await gateway();
    const controller = new AbortController();
    const outer = rejection(front.client().call(pattern, null, { signal: controller.signal }));
    await eventually('the inner call', () => calls.length);

    controller.abort();

    expect(await outer).toBeInstanceOf(CallCancelledError);
    await eventually('the abort of the inner call', () => calls[0]?.signal.aborted);
    finish.open();
  });

  it('has the time that the handler has left', async () => {
    const { front } = await gateway();
    expect(await front.client().call('left')).toBeLessThanOrEqual(3000);
    expect(await front.client().call('left', null, { timeoutMs: 500 })).toBeLessThanOrEqual(500);
  });

  it('has its own time if that is shorter', async () => {
    const { front } = await gateway({ timeoutMs: 700 });
    expect(await front.client().call('left')).toBeLessThanOrEqual(700);
  });

  it('detached: is not cancelled, and has its own time', async () => {
    const { front, inner } = await gateway({ detached: true });
    const controller = new AbortController();
    const outer = rejection(front.client().call('hold', null, { signal: controller.signal }));
    await eventually('the inner call', () => calls.length);

    controller.abort();
    await outer;
    expect(await front.client().call('left')).toBeGreaterThan(3000);
    finish.open();

    expect(await Promise.all(inner)).toEqual([1]);
    expect(calls[0]?.signal.aborted).toBe(false);
  });

  it('that outlives its handler goes on', async () => {
    const { front, inner } = await gateway();
    expect(await front.client().call('background')).toBe('answered');
    await eventually('the inner call', () => calls.length);

    finish.open();

    expect(await Promise.all(inner)).toEqual([1]);
  });

  it('calls at once do not mix: one is cancelled, the other not', async () => {
    const { front, inner } = await gateway();
    const rap = front.client();
    const controller = new AbortController();
    const cancelled = rejection(rap.call('hold', null, { signal: controller.signal }));
    await eventually('the first inner call', () => calls.length === 1);
    const other = rap.call('hold');
    await eventually('the second inner call', () => calls.length === 2);

    controller.abort();
    await cancelled;
    await eventually('the abort', () => calls[0]?.signal.aborted);
    finish.open();

    expect(await other).toBe(1);
    expect(await inner[1]).toBe(1);
  });

  it('and nineteen more at once: without a warning of Node about a leak', async () => {
    const backend = await scope.serve([BackendController]);
    const math = backend.client();
    await math.connect();
    let warns: boolean | undefined;
    @Controller()
    class FanOutController {
      @MessagePattern('fan-out') async fanOut(@Ctx() { signal }: RapContext): Promise<number> {
        const answers = Promise.all(Array.from({ length: 20 }, () => math.call('left')));
        warns = warnsOfLeak(signal);
        return (await answers).length;
      }
    }
    const front = await scope.serve([FanOutController]);

    expect(await front.client().call('fan-out')).toBe(20);
    expect(warns).toBe(false);
  });

  it('an event inside a handler is sent', async () => {
    const { front } = await gateway();
    await front.client().call('emit');
    await eventually('the event', () => calls.length);
  });
});
