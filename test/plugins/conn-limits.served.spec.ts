import {
  ConnLimitMiddleware,
  IpFilterMiddleware,
  IpMaxConnMiddleware,
  type RapConnection,
} from '../../lib/index.js';
import { DECLARE } from '../helpers/raw-socket.js';
import { EXCESS, EXCESS_OF_ADDRESS, isRefused, NOT_ALLOWED } from '../helpers/refusals.js';
import { framesFrom, loadVector } from '../helpers/python/vectors.js';
import {
  connectRaw,
  expectAnswers,
  openRaw,
  startApp,
  startBackgroundCalls,
  until,
} from '../helpers/fault-scope.js';

it('refuses an excess connection byte for byte as rap does', async () => {
  const app = await startApp({ middleware: [new ConnLimitMiddleware({ maxConnections: 0 })] });
  const vector = loadVector('limit');
  const raw = await connectRaw(app);
  const received: Buffer[] = [];
  raw.socket.on('data', (chunk: Buffer) => received.push(chunk));
  for (const { bytes } of framesFrom(vector, 'client')) raw.bytes(bytes);
  await raw.waitClosed();
  expect(Buffer.concat(received)).toEqual(
    Buffer.concat(framesFrom(vector, 'server').map(({ bytes }) => bytes)),
  );
});

it('refuses the excess, and those within the limit notice nothing', async () => {
  const app = await startApp({ middleware: [new ConnLimitMiddleware({ maxConnections: 3 })] });
  const background = await startBackgroundCalls(app);
  const admitted = [await openRaw(app), await openRaw(app)];
  for (let i = 0; i < 50; i++) {
    const refused = await connectRaw(app);
    // one that talks at once, one that is silent
    if (i % 2 === 0) refused.send(DECLARE);
    expect(await refused.closeReason()).toBe(EXCESS);
    await refused.waitClosed(); // though it does not close by itself
  }
  for (const raw of admitted) await expectAnswers(raw);
  await background.goesOn();

  admitted[0]?.destroy();
  await until(() => app.server.stats().connections === 2, 'room for one more');
  await expectAnswers(await openRaw(app));
});

it('a client of this project learns why', async () => {
  const app = await startApp({ middleware: [new ConnLimitMiddleware({ maxConnections: 0 })] });
  const client = app.client({ reconnect: false });
  await expect(client.call('echo', 1)).rejects.toMatchObject({
    code: 'ERR_RAP_CONNECTION_LOST',
    sent: 'no',
    message: expect.stringContaining(EXCESS) as string,
  });
});

it('bounds each address on its own', async () => {
  const app = await startApp({ middleware: [new IpMaxConnMiddleware({ maxConnections: 1 })] });
  const first = await openRaw(app);
  await isRefused(app, EXCESS_OF_ADDRESS);
  const other = await connectRaw(app, '127.0.0.2');
  other.send(DECLARE);
  await other.answer(3);
  for (const raw of [first, other]) await expectAnswers(raw);
});

it('filters addresses, also by lists that change while it runs', async () => {
  const filter = new IpFilterMiddleware({ block: ['127.0.0.2'] });
  const app = await startApp({ middleware: [filter] });
  const background = await startBackgroundCalls(app);
  await isRefused(app, NOT_ALLOWED, '127.0.0.2');
  await expectAnswers(await openRaw(app));

  await filter.block('127.0.0.0/30');
  await isRefused(app, NOT_ALLOWED);
  await background.goesOn(); // it was there before

  await filter.removeBlocked(['127.0.0.0/30', '127.0.0.2']);
  await expectAnswers(await openRaw(app));
});

it('stacks: an address that is filtered takes no place', async () => {
  const app = await startApp({
    middleware: [
      new IpFilterMiddleware({ block: ['127.0.0.2'] }),
      new ConnLimitMiddleware({ maxConnections: 1 }),
    ],
  });
  for (let i = 0; i < 5; i++) {
    const refused = await connectRaw(app, '127.0.0.2');
    await refused.waitClosed();
  }
  await expectAnswers(await openRaw(app));
  await isRefused(app);
});

it('gives back every place after a storm of connections that come and go', async () => {
  const app = await startApp({ middleware: [new ConnLimitMiddleware({ maxConnections: 20 })] });
  for (let round = 0; round < 5; round++) {
    const storm = await Promise.all(Array.from({ length: 40 }, () => connectRaw(app)));
    for (const [index, raw] of storm.entries()) {
      if (index % 3 === 0) raw.send(DECLARE);
      raw.destroy();
    }
    await until(() => app.server.stats().connections === 0, 'the storm is over');
  }
  const admitted = [];
  for (let i = 0; i < 20; i++) admitted.push(await openRaw(app));
  await isRefused(app);
  for (const raw of admitted) await expectAnswers(raw);
});

it('a filter with 10,000 ranges works once a connection, and not at all for calls', async () => {
  class Counted extends IpFilterMiddleware {
    uses = 0;
    reads = 0;
    override use(connection: RapConnection, next: () => Promise<void>): void | Promise<void> {
      this.uses += 1;
      const counted = new Proxy(connection, {
        get: (target, key) => {
          this.reads += 1;
          const value: unknown = Reflect.get(target, key);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      });
      return super.use(counted, next);
    }
  }
  const block = Array.from({ length: 10_000 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
  const filter = new Counted({ block });
  const app = await startApp({ middleware: [filter] });
  const client = app.client();
  await client.connect();
  const { reads } = filter;
  expect([filter.uses, reads]).toEqual([1, 1]);
  await Promise.all(Array.from({ length: 200 }, (_, index) => client.call('echo', index)));
  expect([filter.uses, filter.reads]).toEqual([1, 1]);
});
