import type { Link } from '../../../lib/protocol/link.js';
import { Account } from '../../../lib/rpc/account.js';
import { resolveLimits } from '../../../lib/rpc/limits.js';
import { SlowReaderGuard } from '../../../lib/rpc/server/slow-reader-guard.js';

const HARD = 40_000_000;
const LIMITS = resolveLimits({ sendBufferSoftBytes: 1000, sendBufferHardBytes: HARD });

let link: { pendingBytes: number; pauses: number };
let overflows: number[];
let guard: SlowReaderGuard;
let account: Account;

beforeEach(() => {
  account = new Account(HARD);
  overflows = [];
  link = {
    pendingBytes: 0,
    pauses: 0,
    pause: () => (link.pauses += 1),
    resume: () => (link.pauses -= 1),
  } as typeof link;
  guard = new SlowReaderGuard(link as unknown as Link, LIMITS, (bytes) => overflows.push(bytes), account);
});

function answer(bytes: number): void {
  link.pendingBytes += bytes;
  guard.answered();
}

function send(bytes: number): void {
  link.pendingBytes += bytes;
  guard.sent(bytes);
}

it('reads no requests beyond the soft limit, until all is taken', () => {
  answer(1000);
  expect([guard.isPaused, link.pauses]).toEqual([false, 0]);
  answer(1);
  answer(0);
  expect([guard.isPaused, link.pauses]).toEqual([true, 1]);
  link.pendingBytes = 0;
  guard.drained(false); // answers wait behind that
  expect([guard.isPaused, link.pauses]).toEqual([true, 1]);
  guard.drained();
  guard.drained();
  expect([guard.isPaused, link.pauses]).toEqual([false, 0]);
});

it('has answers wait when the account is full of what waits, and no longer', () => {
  answer(HARD);
  expect(guard.isFull).toBe(false);
  answer(1);
  expect([guard.isFull, account.held]).toEqual([true, HARD + 1]);
  link.pendingBytes = 0;
  guard.drained();
  expect([guard.isFull, account.held]).toEqual([false, 0]);
});

it('keeps a peer for which answers wait, however many: it is the link that sees whether it reads', () => {
  answer(HARD);
  answer(2 * HARD);
  send(1000);
  expect(overflows).toEqual([]);
});

it('leaves a peer at once for which more waits that it has not asked for', () => {
  answer(2000);
  send(HARD);
  expect(overflows).toEqual([]);
  send(1);
  expect(overflows).toEqual([2000 + HARD + 1]);
});

it('forgets what the peer has taken', () => {
  for (let i = 0; i < 5; i++) {
    send(HARD);
    link.pendingBytes = 0;
    guard.drained(false);
  }
  expect(overflows).toEqual([]);
});

it('holds nothing when the connection is over', () => {
  answer(5000);
  guard.stop();
  expect(account.held).toBe(0);
  guard.drained();
  answer(5000);
  expect(account.held).toBe(0);
});
