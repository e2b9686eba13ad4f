import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import {
  type ProcessorContext,
  RapClient,
  type RapClientOptions,
  RapError,
  type RapProcessor,
} from '../../lib/index.js';
import { testScope } from '../helpers/async.js';

const scope = testScope();
const caller = new AsyncLocalStorage<string>();
/** Runs work as this caller. */
const as = <T>(name: string, work: () => T): T => caller.run(name, work);

/** Callers in whose context processors worked, by the target. */
let seen: string[];
beforeEach(() => {
  seen = [];
});

class Reader implements RapProcessor {
  processRequest(_request: unknown, { target }: ProcessorContext): void {
    seen.push(`${target}: ${caller.getStore()}`);
  }
}

let failures = 0;
let slow = 0;

@Controller()
class Things {
  @MessagePattern('echo') echo(@Payload() body: unknown): unknown {
    return body;
  }

  @MessagePattern('flaky') flaky(): string {
    failures -= 1;
    if (failures >= 0) throw new RapError('broken', { status: 500 });
    return 'well';
  }

  /** The first call takes for ever. */
  @MessagePattern('slow') async slow(@Payload() isSlow: boolean): Promise<string> {
    if (isSlow) slow += 1;
    if (slow === 1) await new Promise(() => {});
    return 'fast';
  }

  @EventPattern('happened') happened(@Payload() _body: unknown): void {}
}

async function clientOf(options: RapClientOptions = {}): Promise<RapClient> {
  const apps = [await scope.serve([Things]), await scope.serve([Things])];
  const client = new RapClient({
    servers: apps.map(({ port }) => ({ host: '127.0.0.1', port })),
    processors: [new Reader()],
    ...options,
  });
  scope.defer(() => client.close());
  return client;
}

describe('processors of a client of several servers work in the context of each caller', () => {
  it('if calls and events wait for a server', async () => {
    const client = await clientOf();
    const calls = ['A', 'B'].map((name) => as(name, () => client.call('echo', name)));
    const event = as('C', () => lastValueFrom(client.emit('happened', 1), { defaultValue: null }));
    await Promise.all([...calls, event]);
    expect(seen.toSorted()).toEqual(['/default/echo: A', '/default/echo: B', '/default/happened: C']);
  });

  it.each([1, 2])('if a call is repeated %i times, at another server and after a pause', async (count) => {
    const client = await clientOf();
    await client.call('echo');
    [seen, failures] = [[], count];
    const call = as('A', () => client.call('flaky', null, { idempotent: true }));
    expect(await call).toBe('well');
    expect(seen).toEqual(Array.from({ length: count + 1 }, () => '/default/flaky: A'));
  });

  it('if a slow call has a second attempt', async () => {
    const client = await clientOf({ hedge: { minSamples: 1, maxRatio: 1 } });
    await as('others', () => client.call('slow', false, { idempotent: true }));
    seen = [];
    expect(await as('A', () => client.call('slow', true, { idempotent: true }))).toBe('fast');
    expect(seen).toEqual(['/default/slow: A', '/default/slow: A']);
  });
});
