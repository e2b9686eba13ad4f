import { Fault } from '../../lib/protocol/fault.js';
import { CODE_BY_STATUS, isErrorStatus, Status } from '../../lib/protocol/status.js';

describe('isErrorStatus', () => {
  it.each([301, 400, 401, 404, 429, 500, 1001, 1008, 10_081, 99_999, 400.5, Infinity])(
    '%p is an error',
    (status) => {
      expect(isErrorStatus(status)).toBe(true);
    },
  );

  it.each([undefined, null, 0, 1, 200, 299, 300, 302, 399, -404, NaN, '404', 404n, true, {}, [404]])(
    '%p is none',
    (status) => expect(isErrorStatus(status)).toBe(false),
  );
});

describe('codes', () => {
  const errors = Object.values(Status).filter((status) => status !== Status.Ok);

  it('are one for each status of the wire', () => {
    expect(Status.Ok).toBe(200);
    expect(CODE_BY_STATUS).toEqual({
      301: 'ERR_RAP_INVOKE',
      401: 'ERR_RAP_AUTH',
      404: 'ERR_RAP_FUNC_NOT_FOUND',
      429: 'ERR_RAP_TOO_MANY_REQUESTS',
      500: 'ERR_RAP_SERVER',
      1001: 'ERR_RAP_LIFE_CYCLE',
      1002: 'ERR_RAP_PARSE',
      1003: 'ERR_RAP_PROTOCOL',
      1004: 'ERR_RAP_REGISTERED',
      1005: 'ERR_RAP_RUN_TIME',
      1006: 'ERR_RAP_RPC_CALL',
      1007: 'ERR_RAP_CRYPTO',
      1008: 'ERR_RAP_CHANNEL',
      10081: 'ERR_RAP_CHANNEL_LIFE_CYCLE',
    });
    expect(Object.keys(CODE_BY_STATUS)).toHaveLength(errors.length);
  });

  it('are given to a fault by its status, if it brings none', () => {
    for (const status of errors) {
      expect(new Fault({ status, message: 'm' }).code).toBe(CODE_BY_STATUS[status]);
      expect(new Fault({ status, message: 'm', code: 'OWN' }).code).toBe('OWN');
    }
    expect(new Fault({ status: 4711, message: 'm' }).code).toBe('ERR_RAP_UNKNOWN');
  });
});

describe('Fault', () => {
  it('keeps what it was made of', () => {
    const cause = new Error('cause');
    const init = {
      status: 301,
      code: 'C',
      details: { a: 1 },
      remoteName: 'ValueError',
      sent: 'no',
      phase: 'queue',
    } as const;
    const fault = new Fault({ ...init, message: 'm', cause });
    expect(fault).toBeInstanceOf(Error);
    expect(fault).toMatchObject({ ...init, name: 'Fault' });
    expect([fault.message, fault.cause]).toEqual(['m', cause]);
    expect('cause' in new Fault({ status: 500, message: 'm' })).toBe(false);
  });
});
