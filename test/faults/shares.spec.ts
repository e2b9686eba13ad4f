import { Status } from '../../lib/protocol/status.js';
import type { TestApp } from '../helpers/app.js';
import { declare, lifeCycle, msg, untilDrop } from '../helpers/channel-frames.js';
import { call, expectAnswers, openRaw, release, seen, startApp, until } from '../helpers/fault-scope.js';

let app: TestApp;

const BUSY = { status_code: Status.TooManyRequests };

it('leaves slots to other addresses, however many connections one address has', async () => {
  app = await startApp({ limits: { maxInFlight: 4, maxInFlightTotal: 12 } });
  const raws = await Promise.all(Array.from({ length: 4 }, () => openRaw(app)));
  for (const raw of raws) for (let id = 5; id < 13; id += 2) raw.send(call(id, 'hold', null));
  await until(() => app.server.stats().refusedCalls === 10, 'the excess to be refused');
  expect(app.server.stats().inFlight).toBe(6);
  release();
  await until(() => app.server.stats().inFlight === 0, 'the handlers to end');
  await expectAnswers(raws[0] as Awaited<ReturnType<typeof openRaw>>);
});

it('does not charge the server for a stream before its parameters have come', async () => {
  app = await startApp({ limits: { maxInFlightTotal: 4, maxChannelsTotal: 2, maxInFlightPerAddress: 1 } });
  const raw = await openRaw(app);
  for (let id = 5; id < 25; id += 2) raw.send(declare(id, 'hold'));
  await until(
    () => raw.frames.filter((it) => lifeCycle(it) === 'DECLARE').length === 10,
    'the channels to open',
  );
  expect(app.server.stats().inFlight).toBe(0);

  const other = await openRaw(app);
  await expectAnswers(other);
  raw.send(msg(5, 'runs'), msg(7, 'is one too many'));
  expect((await untilDrop(raw, 7)).at(-1)).toMatchObject([
    102,
    7,
    expect.objectContaining(BUSY),
    'Too many channels',
  ]);
  expect([seen.started, app.server.stats().inFlight]).toEqual([1, 1]);
  await expectAnswers(other);
  release();
});

it('refuses what a client says on a stream after its parameters', async () => {
  app = await startApp({});
  const raw = await openRaw(app);
  raw.send(declare(5, 'hold'), msg(5, 'parameters'));
  await until(() => seen.started === 1, 'the handler to run');
  raw.send(msg(5, 'more'));
  const wrong = { status_code: Status.Channel };
  expect((await untilDrop(raw, 5)).at(-1)).toMatchObject([
    102,
    5,
    expect.objectContaining(wrong),
    expect.any(String),
  ]);
  await until(() => seen.signals[0]?.aborted === true, 'the handler to hear of it');

  raw.send(declare(7, 'hold'), msg(7, 'parameters'), msg(7, 'more'));
  expect((await untilDrop(raw, 7)).at(-1)).toMatchObject([
    102,
    7,
    expect.objectContaining(wrong),
    expect.any(String),
  ]);
  release();
  await expectAnswers(raw);
});

it('answers calls whose bodies are too much together with 429, and serves others', async () => {
  app = await startApp({});
  const raw = await openRaw(app);
  const bomb = Array.from({ length: 200_000 }, () => ({})); // 200 KB, and 20 MB of account
  for (let id = 5; id < 37; id += 2) raw.send(call(id, 'hold', bomb));
  await until(() => app.server.stats().refusedCalls === 13, 'the excess to be refused');
  expect(seen.started).toBe(3);
  await expectAnswers(await openRaw(app));
  release();
  await until(() => app.server.stats().inFlight === 0, 'the handlers to end');
});
