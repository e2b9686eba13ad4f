import type { Link } from '../../lib/protocol/link.js';
import { Account } from '../../lib/rpc/account.js';
import { resolveLimits } from '../../lib/rpc/limits.js';
import { SendWatch } from '../../lib/rpc/send-watch.js';
import { FakeClock } from '../helpers/fake-clock.js';

const HARD = 40_000_000;
const LIMITS = resolveLimits({ sendBufferSoftBytes: 1000, sendBufferHardBytes: HARD });

let clock: FakeClock;
let link: { pendingBytes: number; blockedMs: number; pauses: number };
let deaf: number[];
let watch: SendWatch;
let account: Account;

beforeEach(() => {
  clock = new FakeClock();
  account = new Account(2_000);
  deaf = [];
  const blockedAt = clock.now();
  link = {
    pendingBytes: 0,
    get blockedMs() {
      return this.pendingBytes > 0 ? clock.now() - blockedAt : 0;
    },
    pauses: 0,
    pause: () => (link.pauses += 1),
    resume: () => (link.pauses -= 1),
  } as typeof link;
  watch = new SendWatch(link as unknown as Link, LIMITS, clock, (bytes) => deaf.push(bytes), account);
});

/** More waits than ever should. */
function exceed(isAnswer: boolean): void {
  link.pendingBytes = HARD + 1;
  watch.sent(isAnswer);
}

it('reads no requests beyond the soft limit, until all is taken', () => {
  link.pendingBytes = 1000;
  watch.sent(true);
  expect([watch.isPaused, link.pauses]).toEqual([false, 0]);
  link.pendingBytes = 1001;
  watch.sent(true);
  watch.sent(true);
  expect([watch.isPaused, link.pauses]).toEqual([true, 1]);
  watch.drained();
  watch.drained();
  expect([watch.isPaused, link.pauses]).toEqual([false, 0]);
});

it('leaves a peer at once for which more waits that it has not asked for', () => {
  exceed(false);
  expect(deaf).toEqual([HARD + 1]);
});

it('gives the answers a second, and then leaves a peer that has taken nothing', () => {
  exceed(true);
  clock.advance(999);
  expect(deaf).toEqual([]);
  clock.advance(1);
  expect(deaf).toEqual([HARD + 1]);
  watch.stop();
  expect(clock.pending).toBe(0);
});

it('keeps a peer that reads, whatever it has asked for', () => {
  exceed(true);
  clock.advance(500);
  link.pendingBytes = 0;
  watch.drained();
  clock.advance(10_000);
  expect(deaf).toEqual([]);
});

it('says nothing of a peer where this process stood still, as that may have read meanwhile', () => {
  exceed(true);
  clock.stall(5000);
  watch.sent(true); // an answer that was due, before the loop has looked at its sockets
  expect(deaf).toEqual([]);
  link.pendingBytes = 0;
  watch.drained();
  clock.advance(10_000);
  expect(deaf).toEqual([]);
});

it('leaves a peer all the same that does not read after that', () => {
  exceed(true);
  clock.stall(5000);
  clock.advance(1000);
  expect(deaf).toEqual([HARD + 1]);
});
