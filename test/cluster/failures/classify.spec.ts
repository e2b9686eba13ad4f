import { isPassing, isServerError, verdictOf } from '../../../lib/cluster/failures/classify.js';
import { ThrownFault } from '../../../lib/pipeline/thrown-fault.js';
import { Fault, type FaultInit, LocalCode } from '../../../lib/protocol/fault.js';
import { fromErrorFrame, toErrorFrame } from '../../../lib/protocol/wire-error.js';
import { callCancelled } from '../../../lib/rpc/call-faults.js';
import { callTimeout } from '../../../lib/rpc/client/call-timeout.js';
import { connectionLost } from '../../../lib/rpc/connection/connection-lost.js';
import { callTimeIsOver, channelTimeIsOver } from '../../../lib/rpc/time/own-timeout.js';

const timing = { target: '/a/b', timeoutMs: 100, where: 'a:9000' };
const fault = (init: Partial<FaultInit>) => new Fault({ status: 1006, message: 'm', ...init });
const overload = fault({ status: 429, code: LocalCode.Overload, sent: 'no' });

/** The fault as the caller of a server gets it that passes it on as its own answer. */
function overWire(given: Fault, name?: string): Fault {
  const { header, body } = toErrorFrame(given, name);
  return fromErrorFrame(header, body) as Fault;
}

it.each([
  ['a connection lost with the call in flight', connectionLost('lost'), 'failed'],
  ['a connection lost before the call', connectionLost('lost', undefined, 'no'), 'ignored'],
  ['no answer', callTimeout(timing, 'response'), 'failed'],
  ['no connection in time', callTimeout(timing, 'connect'), 'ignored'],
  ['no free slot in time', callTimeout(timing, 'queue'), 'ignored'],
  ['a deadline that was over before', callTimeout({ ...timing, timeoutMs: -5 }, 'connect'), 'ignored'],
  ['a cancel', callCancelled('cancelled'), 'ignored'],
  ['own overload', overload, 'ignored'],
  ['a body that has no form', fault({ status: 500, code: 'ERR_RAP_UNSERIALIZABLE' }), 'ignored'],
  ['a frame that is too large', fault({ status: 1003, code: 'ERR_RAP_FRAME_TOO_LARGE' }), 'ignored'],
  ['429', overWire(fault({ status: 429 })), 'refused'],
  ['429 of a server that has no class names', fault({ status: 429 }), 'refused'],
  ['429 before a handler began', fault({ status: 429, errorName: 'X', sent: 'no' }), 'refused'],
  ['429 before a handler began, without a name', fault({ status: 429, sent: 'no' }), 'refused'],
  ['another refusal before a handler began', fault({ errorName: 'X', sent: 'no' }), 'refused'],
  ['500', overWire(fault({ status: 500 })), 'failed'],
  ['500 of a server that has no class names', fault({ status: 500 }), 'failed'],
  ["the server's time limit", overWire(callTimeIsOver().fault), 'failed'],
  ["the server's time limit of a channel", overWire(channelTimeIsOver().fault), 'failed'],
])('%s', (_, given, verdict) => expect(verdictOf(given)).toBe(verdict));

it.each([301, 400, 401, 404, 418, 1001, 1002, 1003, 1004, 1006, 1007, 1008, 10081, 70_000])(
  '%i is an answer of a server that is well',
  (status) => {
    expect(verdictOf(overWire(fault({ status })))).toBe('answered');
    expect(verdictOf(fault({ status }))).toBe('answered');
    expect(isPassing(fault({ status }))).toBe(false);
  },
);

it('a server that passes on the failure of another one is well', () => {
  expect(verdictOf(overWire(connectionLost('lost')))).toBe('answered');
  expect(verdictOf(overWire(callCancelled('cancelled')))).toBe('answered');
  // it answers 429: it has refused, whatever made it do so
  expect(verdictOf(overWire(overload))).toBe('refused');
  expect(verdictOf(overWire(fault({ status: 500, code: 'ERR_RAP_UNSERIALIZABLE' })))).toBe('failed');
});

it.each([429, 500, 1005, 1006])('what a processor of this side throws as %i says nothing', (status) => {
  const thrown = new ThrownFault(new Error('mine'), fault({ status }));
  expect(verdictOf(thrown)).toBe('ignored');
  expect(isPassing(thrown)).toBe(false);
});

it('anything may be judged', () => {
  expect(verdictOf({})).toBe('answered');
  expect(verdictOf(new Error('x') as unknown as Fault)).toBe('answered');
});

it('tells a 500 from a loss and from a late answer', () => {
  expect(isServerError(overWire(fault({ status: 500 })))).toBe(true);
  for (const it of [connectionLost('lost'), callTimeout(timing, 'response'), callTimeIsOver().fault])
    expect([isServerError(it), isPassing(it)]).toEqual([false, true]);
});
