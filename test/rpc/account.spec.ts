import { Account, AccountPause } from '../../lib/rpc/account.js';

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
  beforeEach(() => {
    link.pauses = 0;
  });

  it('lasts until there is room in the account and all above it', () => {
    const server = new Account(1000);
    const [account, other] = [new Account(500, server), new Account(1000, server)];
    const pause = new AccountPause(account, link);
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
    const pause = new AccountPause(account, link);
    account.add(11);
    pause.check();
    pause.end();
    pause.end();
    account.add(-11);
    expect([pause.isPausing, link.pauses]).toEqual([false, 0]);
  });
});
