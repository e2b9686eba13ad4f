import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { fresh, world } from './connection-world.js';

const limits = { ...DEFAULT_LIMITS, openTimeoutMs: 9_000 };

describe('the time to connect, whoever lets it pass,', () => {
  it('ends an attempt whose dial hangs, with the place and the reason', async () => {
    const first = fresh({ limits }).acquire(60_000);
    await world.pass(8_999);
    expect(first.pending).toBe(true);
    await world.pass(1);
    expect(first.error?.message).toBe(
      'cannot connect to server:9000: not connected within 9000 ms (limits.openTimeoutMs)',
    );
  });

  it('lets go of a connection that comes after that', async () => {
    fresh({ limits }).acquire(60_000);
    await world.pass(9_000);
    await world.dial.reach();
    expect(world.dial.links.toServer.frames).toEqual([]);
    expect(world.statuses).toEqual(['connecting', 'disconnected']);
  });

  it('ends once: a dial that fails after it is no second failure', async () => {
    const first = await (fresh({ limits }), world.open());
    first.links.server.destroy();
    await world.settle();
    await world.pass(60);
    const second = world.dial;
    await world.pass(9_000); // given up; the next attempt waits or runs
    const { length } = world.dials;
    await second.fail();
    expect(world.statuses.filter((status) => status === 'reconnecting').length).toBeLessThanOrEqual(
      length + 2,
    );
    expect(world.connection.peer).toBeUndefined();
  });

  it('is not prolonged by a server that drips its answer to DECLARE', async () => {
    const first = fresh({ limits }).acquire(60_000);
    await world.dial.reach();
    const answer = Buffer.from([0x94, 0x67, 0x03, 0x80, 0xda, 0x10, 0x00]);
    for (let i = 0; i < 90; i++) {
      world.dial.links.toClient.inject(i === 0 ? answer : Buffer.from('x'));
      await world.pass(100);
    }
    expect(first.error?.message).toBe(
      'cannot connect to server:9000: the server did not answer DECLARE in time',
    );
  });

  it.each(['prepare', 'dial'] as const)(
    'tells %s when nobody waits for it any more, and not before',
    async (step) => {
      const signals: AbortSignal[] = [];
      const hangs = (signal: AbortSignal): Promise<never> => {
        signals.push(signal);
        return new Promise(() => {});
      };
      fresh({ limits, [step]: hangs }).acquire(60_000);
      await world.pass(5_000);
      expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
      world.connection.close('enough');
      await world.settle();
      expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    },
  );

  it('tells a dial that its time is over', async () => {
    let wanted: AbortSignal | undefined;
    const dial = (signal: AbortSignal): Promise<never> => {
      wanted = signal;
      return new Promise(() => {});
    };
    fresh({ limits, dial }).acquire(60_000);
    await world.pass(8_999);
    expect(wanted?.aborted).toBe(false);
    await world.pass(1);
    expect(wanted?.aborted).toBe(true);
  });

  it('leaves no timer behind when the client is closed meanwhile', async () => {
    fresh({ limits }).acquire(60_000);
    world.connection.close('enough');
    await world.settle();
    expect(world.clock.pending - world.lanes.pending).toBe(0);
  });
});

it('names the place in the status and in the cause of a call that waits, when DECLARE fails again', async () => {
  const first = await (fresh(), world.open());
  first.links.server.destroy();
  await world.settle();
  const waiting = world.acquire(500);
  await world.pass(50);
  world.dial.links.toClient.inject([203, 4, { target: '/_event/CLOSE' }, 'no room']);
  await world.dial.reach();
  await world.pass(500);
  const message = 'cannot connect to server:9000: the server closed the connection: no room';
  expect(waiting.error?.cause).toMatchObject({ message });
  expect(world.reasons.some((reason) => reason?.message === message)).toBe(true);
});
