import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { lastValueFrom, toArray } from 'rxjs';
import { AuthError, RapClient } from '../../../lib/index.js';
import { eventually, rejection, testScope, within } from '../../helpers/async.js';
import { collect } from '../../helpers/streams.js';

const scope = testScope();
let left = 0;
beforeEach(() => (left = 0));

@Controller()
class Streams {
  @MessagePattern('three') *three(): Generator<number> {
    yield* [1, 2, 3];
  }
  @MessagePattern('fails') async *fails(): AsyncGenerator<number> {
    yield await Promise.resolve(1);
    throw new AuthError('no');
  }
  @MessagePattern('endless') async *endless(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield await Promise.resolve(i);
    } finally {
      left += 1;
    }
  }
}

class Overriding extends RapClient {
  protected override serializeError(error: unknown): unknown {
    return new Error(`wrapped: ${(error as Error).message}`);
  }
  protected override serializeResponse(response: unknown): unknown {
    if (response === 500) throw new TypeError('500 is no response');
    return { wrapped: response };
  }
}

async function connect(): Promise<Overriding> {
  const { port } = await scope.serve([Streams]);
  const client = new Overriding({ host: '127.0.0.1', port });
  scope.defer(() => client.close());
  return client;
}

/** The ways to the values of a streaming function. */
const WAYS: [string, (client: RapClient, name: string) => Promise<unknown>][] = [
  ['stream', (client, name) => collect(client.stream(name))],
  ['send', (client, name) => lastValueFrom(client.send(name, {}).pipe(toArray()))],
  [
    'session.execute',
    (client, name) =>
      client.withSession(async (session) => collect((await session.execute(name)) as AsyncIterable<unknown>)),
  ],
];

describe.each(WAYS)('overrides of a subclass, for the values of a stream by %s', (_way, read) => {
  it('serializeResponse makes each value', async () => {
    expect(await read(await connect(), 'three')).toEqual([1, 2, 3].map((wrapped) => ({ wrapped })));
  });

  it('serializeError makes the error, once', async () => {
    expect((await rejection(read(await connect(), 'fails'))).message).toBe('wrapped: no');
    expect((await rejection(read(await connect(), 'nobody'))).message).toMatch(/^wrapped: Not found func/);
  });

  it('serializeResponse that throws ends the stream with it, and the generator', async () => {
    const client = await connect();
    const error = await rejection(within('the error', read(client, 'endless')));
    expect(error.message).toBe('wrapped: 500 is no response');
    await eventually('the generator ends', () => left === 1);
    expect(client.stats().channels).toBe(0);
  });
});
