import { Controller } from '@nestjs/common';
import { ChannelPattern, type RapChannel, RapClient } from '../../../lib/index.js';
import { Gate, rejection, testScope } from '../../helpers/async.js';

const scope = testScope();
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => void unhandled.push(error);
beforeAll(() => process.on('unhandledRejection', onUnhandled));
afterAll(() => process.off('unhandledRejection', onUnhandled));
beforeEach(() => (unhandled.length = 0));

/** Node tells of unhandled rejections when everything that is due has been done. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

let left: Gate;
let over: Gate<unknown>;
beforeEach(() => {
  left = new Gate();
  over = new Gate();
});

@Controller()
class Feeds {
  /** Goes on to write when the client has gone. */
  @ChannelPattern('ticks') async ticks(channel: RapChannel): Promise<void> {
    await channel.closed.catch(() => {});
    for (let i = 0; i < 50; i++) void channel.write('tick');
    void channel.read();
    void channel.end();
    left.open();
  }

  /** Writes far more than a member reads that is slow. */
  @ChannelPattern('flood') async flood(channel: RapChannel): Promise<void> {
    channel.signal.addEventListener('abort', () => over.open(channel.signal.reason));
    for (let i = 0; i < 3000; i++) void channel.write('x'.repeat(1024));
    await over.opened;
  }

  @ChannelPattern('strange') async strange(channel: RapChannel): Promise<void> {
    channel.signal.addEventListener('abort', () => over.open(channel.signal.reason));
    void channel.write('x'.repeat(5 * 1024 * 1024));
    await over.opened;
  }

  @ChannelPattern('careful') async careful(channel: RapChannel): Promise<void> {
    const error = await rejection(channel.write('x'.repeat(5 * 1024 * 1024)));
    await channel.write(error.name);
  }
}

it('a channel to which nobody awaits writing harms nobody when its client has gone; the log says so once', async () => {
  const test = await scope.serve([Feeds]);
  const channel = await test.client().channel('ticks');
  channel.close();
  await left.opened;
  await turn();
  expect(unhandled).toEqual([]);
  expect(test.log.lines.filter((line) => line.includes('nobody awaits it'))).toHaveLength(1);
});

it('a channel of which a write is lost that nobody awaits ends with the error', async () => {
  const test = await scope.serve([Feeds]);
  for (const [pattern, reason] of [
    ['flood', 'Overload'],
    ['strange', 'too large'],
  ] as const) {
    over = new Gate();
    const channel = await test.client().channel(pattern);
    await over.opened;
    expect((await rejection(channel.closed)).message).toMatch(new RegExp(reason, 'i'));
  }
  await turn();
  expect(unhandled).toEqual([]);
});

it('a write that fails and is awaited leaves the channel open, and is not logged', async () => {
  const test = await scope.serve([Feeds]);
  const channel = await test.client().channel('careful');
  expect(await channel.read()).toMatch(/Error/);
  expect(await channel.read()).toBeUndefined();
  expect(test.log.lines).toEqual([]);
});

it('a client and a server whose promises nobody awaits end no process', async () => {
  const test = await scope.serve([Feeds]);
  const failing = {
    events: {
      afterStop: () => {
        throw new Error('no');
      },
    },
  };
  const client = new RapClient({ host: '127.0.0.1', port: 1, ...failing });
  void client.connect();
  void client.ping();
  client.emit('happened', 1);
  await rejection(client.connect());
  void client.drain();
  void client.close();
  const session = await test.client().openSession();
  session.close();
  void test.server.drain();
  await turn();
  expect(unhandled).toEqual([]);
});
