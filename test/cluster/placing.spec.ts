import type { Placed } from '../../lib/cluster/peer-source.js';
import { Fault, LocalCode } from '../../lib/protocol/fault.js';
import { DRAINING_CODE, Status } from '../../lib/protocol/status.js';
import { outcomeOf } from '../helpers/outcome.js';
import { fresh, world, type WorldOptions } from './fleet-world.js';

/** As a server refuses a channel before a handler begins. */
const refused = (): Fault =>
  new Fault({ status: Status.TooManyRequests, code: DRAINING_CODE, message: 'it drains', sent: 'no' });
/** The channel was never written. */
const unsent = (): Fault =>
  new Fault({ status: Status.Protocol, code: LocalCode.ConnectionLost, message: 'lost', sent: 'no' });

const opened: Placed[] = [];
async function place(timeoutMs = 10_000): Promise<Placed> {
  const placed = await world.place(timeoutMs);
  opened.push(placed);
  return placed;
}

async function elsewhere(placed: Placed, fault: Fault): Promise<Placed> {
  const next = (await placed.elsewhere?.(fault)) as Placed;
  opened.push(next);
  return next;
}

async function open(options?: WorldOptions): Promise<void> {
  await fresh(options).open();
}

const channels = (): number[] => world.endpoints.map(({ traffic }) => traffic.channels);

describe('a channel that a server has refused', () => {
  // before the world ends
  afterEach(() => {
    for (const placed of opened.splice(0)) placed.ended();
  });

  it('goes to another server, each once, while there are others', async () => {
    await open();
    const first = await place();
    const second = await elsewhere(first, refused());
    const third = await elsewhere(second, refused());
    expect(new Set([first.where, second.where, third.where]).size).toBe(3);
    expect(channels()).toEqual(world.endpoints.map(({ address }) => (address === third.where ? 1 : 0)));
    expect(world.endpoints.map(({ traffic }) => traffic.picks)).toEqual([1, 1, 1]);
  });

  it('waits if all have refused it, and fails with its attempts if they do so again', async () => {
    await open();
    let placed = await place();
    for (let i = 0; i < 2; i += 1) placed = await elsewhere(placed, refused());
    const again = outcomeOf(elsewhere(placed, refused()));
    await world.settle();
    expect(again.state).toBe('pending');
    expect(world.fleet.counts().queued).toBe(1);
    await world.pass(200, 5);
    const failed = outcomeOf(elsewhere(again.value as Placed, refused()));
    await world.pass(5_000);
    // once more than there are servers
    expect(failed.error).toMatchObject({ code: DRAINING_CODE, sent: 'no' });
    const { attempts = [], message } = failed.error as Fault;
    expect(
      attempts
        .map(({ server }) => server)
        .slice(0, 3)
        .toSorted(),
    ).toEqual(['a', 'b', 'c']);
    expect(message).toMatch(/^it drains \(\d attempts: [abc] after 0 ms: ERR_RAP_DRAINING; /);
    expect(channels()).toEqual([0, 0, 0]);
  });

  it('goes on as far as the budget goes; what was never sent costs nothing', async () => {
    await open({ retry: { budget: { ratio: 0, perSecond: 0.1 } } });
    const placed = await elsewhere(await place(), refused());
    const second = outcomeOf(elsewhere(placed, refused()));
    await world.settle();
    expect(second.error).toMatchObject({ attempts: [{}, {}] });
    const free = await elsewhere(await place(), unsent());
    expect((await elsewhere(free, unsent())).where).toMatch(/^[abc]$/);
  });

  it('counts as a call for the budget', async () => {
    await open({ retry: { budget: { ratio: 0.2, perSecond: 0 } } });
    for (let i = 0; i < 4; i += 1) await place();
    const moved = await elsewhere(await place(), refused());
    await expect(elsewhere(moved, refused())).rejects.toMatchObject({ sent: 'no' });
  });

  it('fails with the same error if it had but one attempt and may not move', async () => {
    await open();
    for (const fault of [
      new Fault({ status: Status.Protocol, code: LocalCode.ConnectionLost, message: 'x', sent: 'unknown' }),
      new Fault({ status: Status.TooManyRequests, message: 'of its handler' }),
      new Fault({ status: Status.FuncNotFound, message: 'no such function' }),
      new Fault({ status: Status.TooManyRequests, message: 'not again', sent: 'no', retry: false }),
      new Fault({ status: Status.RpcCall, code: LocalCode.CallCancelled, message: 'cancelled' }),
    ])
      await expect(elsewhere(await place(), fault)).rejects.toBe(fault);
  });

  it('lists the attempts if the last server fails it otherwise', async () => {
    await open();
    const moved = await elsewhere(await place(), refused());
    const fault = new Fault({ status: Status.FuncNotFound, message: 'no such function' });
    await expect(elsewhere(moved, fault)).rejects.toMatchObject({
      message: 'no such function',
      attempts: [{ code: DRAINING_CODE }, { server: moved.where }],
    });
  });

  it('has one time limit over all attempts', async () => {
    await open({ retry: { baseDelayMs: 1_000, maxDelayMs: 1_000 } });
    const placed = await place(1_000);
    await world.pass(1_000);
    const fault = refused();
    await expect(elsewhere(placed, fault)).rejects.toBe(fault);

    const second = await place(1_000);
    await world.pass(600);
    const third = await elsewhere(second, refused());
    for (const each of world.servers.values()) each.die();
    await world.settle();
    const waiting = outcomeOf(elsewhere(third, unsent()));
    await world.pass(350);
    expect(waiting.state).toBe('pending');
    await world.pass(50);
    expect(waiting.error).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
    expect((waiting.error as Fault).attempts).toHaveLength(2);
  });

  it('waits for a server if none takes calls', async () => {
    await open();
    const placed = await place();
    for (const each of world.servers.values()) each.die();
    await world.settle();
    const waiting = outcomeOf(elsewhere(placed, unsent()));
    await world.settle();
    expect(waiting.state).toBe('pending');
    world.server('b').door = 'open';
    await world.pass(5_000);
    expect(waiting.value?.where).toBe('b');
  });

  it('fails when the client is closed while it waits', async () => {
    await open();
    let placed = await place();
    for (let i = 0; i < 2; i += 1) placed = await elsewhere(placed, refused());
    const waiting = outcomeOf(elsewhere(placed, refused()));
    await world.settle();
    world.fleet.close('it is over');
    await world.settle();
    expect(waiting.error).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect((waiting.error as Fault).attempts).toHaveLength(3);
  });

  it('goes to a server that must prove first that it lives only after the proof', async () => {
    await open();
    const placed = await place(400_000);
    for (const { last } of world.servers.values()) last.links.toClient.hold();
    world.clock.freeze(180_000);
    const moving = outcomeOf(elsewhere(placed, refused()));
    await world.settle();
    expect(moving.state).toBe('pending');
    for (const { last } of world.servers.values()) last.links.toClient.release();
    await world.settle();
    expect(moving.state).toBe('resolved');
    expect(moving.value?.where).not.toBe(placed.where);
  });
});
