import { Attempts, withAttempts } from '../../../lib/cluster/failures/attempts.js';
import { ThrownFault } from '../../../lib/pipeline/thrown-fault.js';
import { Fault } from '../../../lib/protocol/fault.js';
import { connectionLost } from '../../../lib/rpc/connection/connection-lost.js';

const lost = connectionLost('the connection is lost', new Error('ECONNRESET'));

function attempts(...servers: string[]): Attempts {
  const it = new Attempts(1000);
  servers.forEach((server, i) => it.failed(server, lost, 1012.4 + i * 100));
  return it;
}

it('names each attempt in the error', () => {
  const fault = withAttempts(lost, attempts('a:9000', 'b:9000'));
  expect(fault.message).toBe(
    'the connection is lost (2 attempts: a:9000 after 12 ms: ERR_RAP_CONNECTION_LOST; ' +
      'b:9000 after 112 ms: ERR_RAP_CONNECTION_LOST)',
  );
  const rest = { code: 'ERR_RAP_CONNECTION_LOST', message: 'the connection is lost' };
  expect(fault.attempts).toEqual([
    { server: 'a:9000', afterMs: 12, ...rest },
    { server: 'b:9000', afterMs: 112, ...rest },
  ]);
});

it('leaves the fault of a call with one attempt as it is', () => {
  expect(withAttempts(lost, undefined)).toBe(lost);
  expect(withAttempts(lost, attempts())).toBe(lost);
  expect(withAttempts(lost, attempts('a:9000'))).toBe(lost);
});

it('changes nothing of a fault that other calls share, and keeps all that it says', () => {
  const shared = new Fault({
    status: 301,
    message: 'm',
    code: 'CODE',
    details: { a: 1 },
    remoteName: 'ValueError',
    errorName: 'Mine',
    sent: 'unknown',
    phase: 'response',
    httpStatus: 418,
    cause: lost,
  });
  const before = Object.assign({}, shared);
  const fault = withAttempts(shared, attempts('a', 'b'));
  expect(fault).toBeInstanceOf(Fault);
  expect(fault.cause).toBe(lost);
  expect(Object.assign({}, fault, { attempts: undefined })).toEqual(before);
  expect([shared.message, shared.attempts]).toEqual(['m', undefined]);
  // a later fault has a list of its own
  const list = attempts('a', 'b');
  const first = withAttempts(shared, list);
  list.failed('c', lost, 2000);
  expect([first.attempts?.length, withAttempts(shared, list).attempts?.length]).toEqual([2, 3]);
});

it('does not name them twice', () => {
  const once = withAttempts(lost, attempts('a', 'b'));
  expect(withAttempts(once, attempts('a', 'b', 'c'))).toBe(once);
});

it('lets pass what a processor of this side has thrown', () => {
  const thrown = new ThrownFault(new Error('mine'), lost);
  expect(withAttempts(thrown, attempts('a', 'b'))).toBe(thrown);
});

it('is bounded in number: the first and the last are kept', () => {
  const it = attempts(...Array.from({ length: 1000 }, (_, i) => `s${i}`));
  const fault = withAttempts(lost, it);
  expect(fault.attempts?.map(({ server }) => server)).toEqual([
    's0',
    's1',
    's2',
    's3',
    's4',
    's5',
    's6',
    's999',
  ]);
  expect(fault.message).toContain('(1000 attempts: s0 after');
  expect(fault.message).toContain('; 992 more; s999 after 99912 ms:');
});

it('is bounded in text, whatever a server sends', () => {
  const it = new Attempts(0);
  const huge = new Fault({ status: 500, code: '€'.repeat(1e5), message: '€'.repeat(1e6) });
  for (let i = 0; i < 50; i++) it.failed('/'.repeat(1e5), huge, -5);
  expect(Buffer.byteLength(it.toString())).toBeLessThan(2_000);
  for (const { server, afterMs, code, message } of it.list()) {
    expect(Buffer.byteLength(server)).toBeLessThanOrEqual(128);
    expect(Buffer.byteLength(code)).toBeLessThanOrEqual(64);
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(256);
    expect(message).not.toContain('\uFFFD');
    expect(afterMs).toBe(0);
  }
});
