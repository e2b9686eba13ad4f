import { Socket } from 'node:net';
import { ConnectRace, interleaved } from '../../lib/net/connect-race.js';
import { FakeClock } from '../helpers/fake-clock.js';

/** A race whose sockets the test plays. */
function race(...addresses: string[]) {
  const clock = new FakeClock();
  const sockets = new Map<string, Socket>();
  const outcomes: unknown[] = [];
  const it = new ConnectRace(addresses, {
    clock,
    open(address) {
      const socket = new Socket();
      sockets.set(address, socket);
      return socket;
    },
    onConnect: (socket) => outcomes.push(socket),
    onError: (error) => outcomes.push(error),
  });
  const socket = (address: string): Socket => sockets.get(address) as Socket;
  return { it, clock, sockets, socket, outcomes };
}

const refused = (address: string): Error =>
  Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: 'ECONNREFUSED' });

it('waits for an address that is far away while it tries the others', () => {
  const { clock, sockets, socket, outcomes } = race('far', 'further', 'dead');
  clock.advance(250);
  expect([...sockets.keys()]).toEqual(['far', 'further']);
  clock.advance(50);
  socket('far').emit('connect');
  expect(outcomes).toEqual([socket('far')]);
  expect([socket('far').destroyed, socket('further').destroyed]).toEqual([false, true]);
  expect([clock.pending, sockets.size]).toEqual([0, 2]);
});

it('never drops an attempt for the next one', () => {
  const { clock, sockets, socket, outcomes } = race('a', 'b', 'dead');
  clock.advance(4_000);
  expect([...sockets.values()].map(({ destroyed }) => destroyed)).toEqual([false, false, false]);
  socket('b').emit('connect');
  expect(outcomes).toEqual([socket('b')]);
});

it('tries the next address at once if one fails, and fails with all of them', () => {
  const { sockets, socket, outcomes, clock } = race('a', 'b');
  socket('a').emit('error', refused('a'));
  expect([...sockets.keys()]).toEqual(['a', 'b']);
  socket('b').emit('error', refused('b'));
  expect(outcomes).toMatchObject([{ code: 'ECONNREFUSED', errors: [refused('a'), refused('b')] }]);
  expect(clock.pending).toBe(0);
});

it('fails with the error itself if there is one address only', () => {
  const { socket, outcomes } = race('a');
  const error = refused('a');
  socket('a').emit('error', error);
  expect(outcomes).toEqual([error]);
});

it('leaves nothing when it is stopped', () => {
  const { it: stopped, clock, sockets, socket, outcomes } = race('a', 'b', 'c');
  clock.advance(250);
  stopped.stop();
  socket('a').emit('error', refused('a'));
  clock.advance(10_000);
  expect([...sockets.values()].map(({ destroyed }) => destroyed)).toEqual([true, true]);
  expect([outcomes, clock.pending]).toEqual([[], 0]);
});

it('lets the families of a name take turns', () => {
  const addresses = ['::1', '::2', '::3', '127.0.0.1'].map((address) => ({
    address,
    family: address.includes(':') ? 6 : 4,
  }));
  expect(interleaved(addresses)).toEqual(['::1', '127.0.0.1', '::2', '::3']);
  expect(interleaved(addresses.toReversed())).toEqual(['127.0.0.1', '::3', '::2', '::1']);
  expect(interleaved([])).toEqual([]);
});
