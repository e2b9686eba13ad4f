import { Account, AccountPause } from '../../lib/rpc/account.js';
import { DeadlineQueue } from '../../lib/rpc/time/deadline-queue.js';
import { FakeClock } from '../helpers/fake-clock.js';

const MiB = 1024 * 1024;

it('is full beyond its limit, and no more when enough was released', () => {
  const account = new Account(100);
  account.add(100);
  expect(account.isFull).toBe(false);
  account.add(1);
  expect([account.isFull, account.held]).toEqual([true, 101]);
  account.add(-1);
  expect(account.isFull).toBe(false);
});

it('is full when the account above is, which knows of all but a little', () => {
  const server = new Account(MiB);
  const connections = Array.from({ length: 4 }, () => new Account(MiB, server));
  for (const connection of connections) connection.add(MiB / 4 + 300);
  expect(server.held).toBe(MiB + 1200);
  expect(connections.map(({ isFull }) => isFull)).toEqual([true, true, true, true]);
  connections[0]?.add(-2000);
  expect(connections.map(({ isFull }) => isFull)).toEqual([false, false, false, false]);
});

it('does not tell the one above of small changes, and leaves nothing behind there', () => {
  const server = new Account(1024 * MiB);
  const connection = new Account(64 * MiB, server);
  let told = 0;
  const add = server.add.bind(server);
  server.add = (cost) => {
    told += 1;
    add(cost);
  };
  for (let i = 0; i < 1000; i++) {
    connection.add(1000);
    connection.add(-1000);
  }
  expect(told).toBe(0);
  connection.add(MiB);
  connection.add(-MiB + 5);
  connection.add(-5);
  expect([told, server.held]).toEqual([3, 0]);
});

describe('a pause', () => {
  const link = { pauses: 0, pause: () => (link.pauses += 1), resume: () => (link.pauses -= 1) };
  let clock: FakeClock;
  /** What lets go of something when the pause has lasted too long. */
  let shed: () => boolean;

  const pauseOf = (account: Account): AccountPause =>
    new AccountPause(account, {
      link,
      deadlines: new DeadlineQueue(clock),
      timeoutMs: 60_000,
      shed: () => shed(),
      isOver: () => false,
    });

  beforeEach(() => {
    link.pauses = 0;
    clock = new FakeClock();
    shed = () => false;
  });

  it('lasts until there is room in the account and all above it', () => {
    const server = new Account(1000);
    const [account, other] = [new Account(500, server), new Account(1000, server)];
    const pause = pauseOf(account);
    account.add(500);
    pause.check();
    expect(pause.isPausing).toBe(false);
    account.add(100);
    other.add(900);
    pause.check();
    pause.check();
    expect([pause.isPausing, link.pauses]).toEqual([true, 1]);
    account.add(-100);
    expect(link.pauses).toBe(1);
    other.add(-500);
    expect([pause.isPausing, link.pauses]).toEqual([false, 0]);
    account.add(1000);
    account.add(-1000);
    expect(link.pauses).toBe(0);
  });

  it('ends with its connection, once', () => {
    const account = new Account(10);
    const pause = pauseOf(account);
    account.add(11);
    pause.check();
    pause.end();
    pause.end();
    account.add(-11);
    expect([pause.isPausing, link.pauses]).toEqual([false, 0]);
  });

  it('has an end, also if nothing can be let go of', () => {
    const account = new Account(10);
    const pause = pauseOf(account);
    account.add(11);
    pause.check();
    clock.advance(59_999);
    expect(link.pauses).toBe(1);
    clock.advance(1);
    expect([pause.isPausing, link.pauses]).toEqual([false, 0]);
    pause.check(); // more comes
    expect([pause.isPausing, link.pauses]).toEqual([true, 1]);
    account.add(-11);
    expect([pause.isPausing, link.pauses]).toEqual([false, 0]);
  });

  it('lets go of one after the other until there is room', () => {
    const account = new Account(10);
    const pause = pauseOf(account);
    account.add(30);
    shed = () => {
      account.add(-15);
      return true;
    };
    pause.check();
    clock.advance(60_000);
    expect([account.held, link.pauses]).toEqual([15, 1]);
    clock.advance(60_000);
    expect([account.held, link.pauses]).toEqual([0, 0]);
  });

  it('begins its time anew with all that is read', () => {
    const account = new Account(10);
    const pause = pauseOf(account);
    account.add(30);
    pause.check();
    for (let i = 0; i < 5; i++) {
      clock.advance(59_000);
      pause.progress();
    }
    expect(link.pauses).toBe(1);
    clock.advance(60_000);
    expect(link.pauses).toBe(0);
  });
});
