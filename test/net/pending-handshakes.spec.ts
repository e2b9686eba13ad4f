import { PendingHandshakes } from '../../lib/net/pending-handshakes.js';
import { FakeSocket, turn } from '../helpers/fake-socket.js';

function socketOf(address: string): FakeSocket {
  return Object.assign(new FakeSocket(), { remoteAddress: address });
}

function filled(most: number): { pending: PendingHandshakes; refused: () => number } {
  let count = 0;
  const pending = new PendingHandshakes(most, () => (count += 1));
  return { pending, refused: () => count };
}

function add(pending: PendingHandshakes, address: string): FakeSocket {
  const socket = socketOf(address);
  pending.add(socket.asSocket);
  return socket;
}

it('lets the oldest of the address with the most of them go when there are too many', async () => {
  const { pending, refused } = filled(4);
  const honest = add(pending, '10.0.0.1');
  const flood = Array.from({ length: 3 }, () => add(pending, '10.0.0.2'));
  expect(flood.map(({ destroyed }) => destroyed)).toEqual([false, false, false]);
  const newcomer = add(pending, '10.0.0.3');
  expect(flood.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
  add(pending, '10.0.0.2');
  expect(flood.map(({ destroyed }) => destroyed)).toEqual([true, true, false]);
  await turn();
  expect([honest.destroyed, newcomer.destroyed, pending.size, refused()]).toEqual([false, false, 4, 2]);
});

it('counts the addresses of an IPv6 network together, and IPv4 however it came', () => {
  const { pending } = filled(4);
  add(pending, '10.0.0.1');
  add(pending, '::ffff:10.0.0.1');
  const first = add(pending, '2001:db8::1');
  add(pending, '2001:db8::2');
  add(pending, '2001:db8::3');
  expect(first.destroyed).toBe(true);
});

it('forgets what has said who it is, and what is gone', async () => {
  const { pending, refused } = filled(2);
  const known = add(pending, '10.0.0.1');
  pending.done(known.asSocket);
  pending.done(known.asSocket);
  const gone = add(pending, '10.0.0.1');
  gone.destroy();
  await turn();
  expect(pending.size).toBe(0);
  add(pending, '10.0.0.1');
  add(pending, '10.0.0.1');
  expect([known.destroyed, refused()]).toEqual([false, 0]);
});
