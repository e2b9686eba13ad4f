import { LocalCode } from '../../lib/protocol/fault.js';
import type { PinnedLease } from '../../lib/cluster/peer-source.js';
import { rejection } from '../helpers/async.js';
import { fresh, world } from './fleet-world.js';

const lease = (): Promise<PinnedLease> => world.fleet.lease('withConnection', 1_000, true);
const shut = (door: 'closed' | 'silent', ...servers: string[]): void => {
  for (const each of servers) world.server(each).door = door;
};

describe('an exclusive connection', () => {
  it('that cannot be opened is opened to another server', async () => {
    await fresh({ servers: ['a', 'b', 'c'] }).open();
    shut('closed', 'a', 'b');
    const leasing = Promise.all(Array.from({ length: 20 }, lease));
    await world.settle();
    const leases = await leasing;
    expect(world.endpoint('c').pool.size).toBe(21);
    for (const each of leases) each.release();
    await world.settle();
  });

  it('fails with its attempts if no server takes it', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    shut('closed', 'a', 'b');
    const failing = rejection(lease());
    await world.pass(999);
    const fault = await failing;
    expect(fault).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(fault['attempts']).toHaveLength(3); // each, and one of them once more
  });

  it('has one time limit over all attempts', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    shut('silent', 'a', 'b');
    const failing = rejection(lease());
    await world.pass(1_000);
    expect(await failing).toMatchObject({ code: LocalCode.CallTimeout, phase: 'connect', sent: 'no' });
  });

  it('is not opened elsewhere once the client is closed', async () => {
    await fresh({ servers: ['a', 'b'] }).open();
    shut('silent', 'a', 'b');
    const failing = rejection(lease());
    await world.settle();
    world.fleet.close('enough');
    await world.settle();
    expect(await failing).toMatchObject({ code: LocalCode.ConnectionLost, sent: 'no' });
    expect(world.server('a').dials.length + world.server('b').dials.length).toBe(3);
  });
});
