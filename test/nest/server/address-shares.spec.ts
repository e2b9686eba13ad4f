import { AddressShares } from '../../../lib/nest/server/address-shares.js';
import type { RemoteAddress } from '../../../lib/protocol/link.js';
import { addressLoad, resolveLimits, serverLoad } from '../../../lib/rpc/limits.js';
import { Load } from '../../../lib/rpc/load.js';

const limits = resolveLimits({ maxInFlightTotal: 10, maxChannelsTotal: 4 });

let total: Load;
let shares: AddressShares;
beforeEach(() => {
  total = new Load(serverLoad(limits));
  shares = new AddressShares(addressLoad(limits), total);
});

function from(address: string): RemoteAddress {
  return { address, port: 1, family: address.includes(':') ? 'IPv6' : 'IPv4' };
}

/** How many calls, or channels, of connections fit. */
function fill(loads: readonly Load[], add: 'addCall' | 'addChannel', times = 20): number {
  let fits = 0;
  for (let i = 0; i < times; i++) if (loads[i % loads.length]?.[add]()) fits += 1;
  return fits;
}

it('leaves half of the slots to others, however many connections an address has', () => {
  const loads = Array.from({ length: 64 }, () => shares.enter(from('192.0.2.1')));
  expect(shares.connectionsOf(from('192.0.2.1'))).toBe(64);
  expect(fill(loads, 'addCall', 5)).toBe(5);
  expect(loads[7]?.addCall()).toBe(false);
  loads[7]?.removeCall();
  const other = shares.enter(from('192.0.2.2'));
  expect([other.addCall(), other.addChannel()]).toEqual([true, true]);
});

it('counts channels apart from calls', () => {
  const load = shares.enter(from('192.0.2.1'));
  expect(fill([load], 'addChannel', 2)).toBe(2);
  expect([load.addChannel(), load.addCall()]).toEqual([false, true]);
  expect([total.calls, total.channels]).toEqual([1, 3]);
});

it('takes an IPv6 network for one address, and each IPv4 address for one, however it came', () => {
  const load = shares.enter(from('2001:db8::1'));
  expect(shares.enter(from('2001:db8:0:0:ffff::2'))).toBe(load);
  expect(shares.enter(from('2001:db8:0:1::1'))).not.toBe(load);
  expect(shares.enter(from('::ffff:192.0.2.1'))).toBe(shares.enter(from('192.0.2.1')));
});

it('charges a Unix socket to the whole server', () => {
  const remote: RemoteAddress = { address: '/tmp/rap.sock', port: 0, family: 'unix' };
  expect(shares.enter(remote)).toBe(total);
  shares.leave(remote);
  expect(shares.connectionsOf(remote)).toBe(0);
});

it('remembers an address that went while its handlers ran, and forgets it when they have ended', () => {
  const load = shares.enter(from('192.0.2.1'));
  load.addCall();
  load.account.add(1000);
  shares.leave(from('192.0.2.1'));
  expect(shares.enter(from('192.0.2.1'))).toBe(load);
  shares.leave(from('192.0.2.1'));
  load.removeCall();
  load.account.add(-1000);
  shares.leave(from('192.0.2.9'));
  shares.enter(from('192.0.2.2'));
  expect(shares.size).toBe(1);
});
