import {
  type FailedCall,
  mayRepeat,
  type NextAttempt,
  repeatDelayMs,
} from '../../../lib/cluster/failures/retry-policy.js';
import { RetryBudget } from '../../../lib/cluster/failures/retry-budget.js';
import { ThrownFault } from '../../../lib/pipeline/thrown-fault.js';
import { Fault, type FaultInit, LocalCode } from '../../../lib/protocol/fault.js';
import { callCancelled } from '../../../lib/rpc/call-faults.js';
import { callTimeout } from '../../../lib/rpc/client/call-timeout.js';
import { connectionLost } from '../../../lib/rpc/connection/connection-lost.js';
import { callTimeIsOver } from '../../../lib/rpc/time/own-timeout.js';
import { FakeClock } from '../../helpers/fake-clock.js';
import { seededRandom } from '../../helpers/seeded-random.js';

const timing = { target: '/a/b', timeoutMs: 100, where: 'a:9000' };
const fault = (init: Partial<FaultInit>) => new Fault({ status: 1006, message: 'm', ...init });

const LOST = connectionLost('lost');
const UNSENT = connectionLost('lost', undefined, 'no');
const REFUSED = fault({ status: 429, sent: 'no', errorName: 'TooManyRequestsError' });

/** A budget that notes what it is asked for. */
class Budget {
  taken = 0;
  constructor(private readonly room = Infinity) {}
  take(): boolean {
    if (this.taken >= this.room) return false;
    this.taken += 1;
    return true;
  }
}

function failed(given: Fault, other: Partial<FailedCall> = {}): FailedCall {
  const call = { idempotent: true, attempts: 1, maxAttempts: 3, moves: 0, servers: 3, remainingMs: 1000 };
  return { ...call, fault: given, ...other };
}

it.each<[what: string, fault: Fault, idempotent: string, other: string]>([
  ['a call that was not sent', UNSENT, 'move', 'move'],
  [
    'a call that a full queue refused',
    fault({ status: 429, code: LocalCode.Overload, sent: 'no' }),
    'move',
    'move',
  ],
  ['one that had no connection in its part of the time', callTimeout(timing, 'connect'), 'move', 'move'],
  ['one that was refused before a handler began', REFUSED, 'move', 'move'],
  ['429 that a handler may have returned', fault({ status: 429 }), 'retry', 'no'],
  ['a lost connection', LOST, 'retry', 'no'],
  ['no answer in its part of the time', callTimeout(timing, 'response'), 'retry', 'no'],
  ["the server's time limit", callTimeIsOver().fault, 'retry', 'no'],
  ['500', fault({ status: 500 }), 'retry', 'no'],
  ['an error of the function', fault({ status: 301 }), 'no', 'no'],
  ['401', fault({ status: 401 }), 'no', 'no'],
  ['404', fault({ status: 404 }), 'no', 'no'],
  ['1002', fault({ status: 1002 }), 'no', 'no'],
  ['1007', fault({ status: 1007 }), 'no', 'no'],
  [
    'a lost connection of the server to another',
    fault({ code: LocalCode.ConnectionLost, errorName: 'X' }),
    'no',
    'no',
  ],
  ['a body that has no form', fault({ status: 500, code: 'ERR_RAP_UNSERIALIZABLE' }), 'no', 'no'],
  ['a frame that is too large', fault({ status: 1003, code: 'ERR_RAP_FRAME_TOO_LARGE' }), 'no', 'no'],
  ['a cancel', callCancelled('cancelled'), 'no', 'no'],
  ['a cancel before it was sent', fault({ code: LocalCode.CallCancelled, sent: 'no' }), 'no', 'no'],
  [
    'what a processor of this side threw',
    new ThrownFault(new Error('x'), fault({ status: 429 })),
    'no',
    'no',
  ],
])('%s', (_, given, idempotent, other) => {
  expect(mayRepeat(failed(given), new Budget())).toBe(idempotent);
  expect(mayRepeat(failed(given, { idempotent: false }), new Budget())).toBe(other);
});

it.each([LOST, UNSENT, REFUSED, fault({ status: 500 })])(
  '%s: not after the deadline, and not if told so',
  (given) => {
    for (const remainingMs of [0.9, 0, -1, NaN, -Infinity]) {
      const budget = new Budget();
      expect([mayRepeat(failed(given, { remainingMs }), budget), budget.taken]).toEqual(['no', 0]);
    }
    const final = Object.assign(new Fault(Object.assign({}, given, { message: 'm' })), { retry: false });
    const budget = new Budget();
    expect([mayRepeat(failed(final), budget), budget.taken]).toEqual(['no', 0]);
    // only `false` says no
    for (const retry of [true, undefined, null, 0, 'no'])
      expect(
        mayRepeat(
          failed(Object.assign(new Fault(Object.assign({}, given, { message: 'm' })), { retry })),
          budget,
        ),
      ).not.toBe('no');
    expect(mayRepeat(failed(given, { remainingMs: Infinity }), budget)).not.toBe('no');
  },
);

it('attempts that may have run are at most three; moves do not count among them', () => {
  const budget = new Budget();
  expect(mayRepeat(failed(LOST, { attempts: 2, moves: 4 }), budget)).toBe('retry');
  expect(mayRepeat(failed(LOST, { attempts: 3 }), budget)).toBe('no');
  expect(mayRepeat(failed(UNSENT, { attempts: 3 }), budget)).toBe('move');
  expect(mayRepeat(failed(LOST, { maxAttempts: 1 }), budget)).toBe('no');
  expect(mayRepeat(failed(UNSENT, { maxAttempts: 1, attempts: 0 }), budget)).toBe('move');
});

it.each([
  [0, 1],
  [1, 2],
  [3, 4],
  [1000, 16],
])('of %i servers, a call moves %i times at most', (servers, most) => {
  for (const given of [UNSENT, REFUSED]) {
    let moves = 0;
    while (moves < 1e4 && mayRepeat(failed(given, { servers, moves }), new Budget()) === 'move') moves += 1;
    expect(moves).toBe(most);
  }
});

it('takes from the budget for what a server has seen, and only if all else permits', () => {
  const budget = new Budget();
  expect(mayRepeat(failed(UNSENT), budget)).toBe('move');
  expect(budget.taken).toBe(0);
  mayRepeat(failed(LOST, { idempotent: false }), budget);
  mayRepeat(failed(LOST, { attempts: 3 }), budget);
  mayRepeat(failed(REFUSED, { moves: 4 }), budget);
  mayRepeat(failed(fault({ status: 404 })), budget);
  expect(budget.taken).toBe(0);
  mayRepeat(failed(REFUSED), budget);
  mayRepeat(failed(LOST), budget);
  expect(budget.taken).toBe(2);
  const empty = new Budget(0);
  expect([UNSENT, REFUSED, LOST].map((it) => mayRepeat(failed(it), empty))).toEqual(['move', 'no', 'no']);
});

it.each([
  ['refuse', REFUSED],
  ['lose', LOST],
])('when all servers %s every call, they get 1.2 times the calls', (_, given) => {
  const clock = new FakeClock();
  const budget = new RetryBudget({ ratio: 0.2, perSecond: 0 }, () => clock.now());
  let sent = 0;
  const calls = 20_000;
  for (let i = 0; i < calls; i++) {
    clock.advance(1);
    budget.called();
    let [attempts, moves] = [1, 0];
    for (;;) {
      sent += 1;
      const repeat = mayRepeat(failed(given, { attempts, moves, servers: 100 }), budget);
      if (repeat === 'no') break;
      if (repeat === 'move') moves += 1;
      else attempts += 1;
    }
  }
  expect(sent / calls).toBeGreaterThan(1.19);
  expect(sent / calls).toBeLessThanOrEqual(1.2);
});

describe('the wait before an attempt', () => {
  const next: NextAttempt = {
    isSameServer: true,
    attempts: 1,
    remainingMs: 1e6,
    baseDelayMs: 25,
    maxDelayMs: 1000,
  };

  it('is none at another server', () => {
    expect(repeatDelayMs({ ...next, isSameServer: false, attempts: 9 }, () => 1)).toBe(0);
  });

  it('has a bound that doubles up to the longest', () => {
    const bounds = Array.from({ length: 8 }, (_, i) => repeatDelayMs({ ...next, attempts: i + 1 }, () => 1));
    expect(bounds).toEqual([25, 50, 100, 200, 400, 800, 1000, 1000]);
    expect(repeatDelayMs({ ...next, attempts: 1e9 }, () => 1)).toBe(1000);
    expect(repeatDelayMs({ ...next, baseDelayMs: 0, maxDelayMs: 0 }, () => 1)).toBe(0);
  });

  it('is any time below it', () => {
    const random = seededRandom(5);
    const waits = Array.from({ length: 1000 }, () => repeatDelayMs({ ...next, attempts: 3 }, random));
    expect(Math.min(...waits)).toBeLessThan(1);
    expect(Math.max(...waits)).toBeGreaterThan(99);
    expect(Math.max(...waits)).toBeLessThan(100);
  });

  it('leaves half of the time that remains', () => {
    expect(repeatDelayMs({ ...next, remainingMs: 30 }, () => 1)).toBe(15);
    expect(repeatDelayMs({ ...next, remainingMs: -30 }, () => 1)).toBe(0);
    expect(repeatDelayMs({ ...next, remainingMs: Infinity }, () => 1)).toBe(25);
  });
});
