import { lastValueFrom } from 'rxjs';
import { AuthError, InvokeError, RapProcessor, RapServer, ServerError } from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { all, forget, later, never, Recorder, seen, Things } from './handlers.js';

const scope = testScope();

beforeEach(forget);

/** What no frame can carry. */
function endless(): unknown {
  const list: unknown[] = [];
  list.push(list);
  return list;
}

describe('a processor that throws', () => {
  const steps = ['onContextEnter', 'processRequest', 'processResponse'] as const;
  const forms = [
    [
      'at once',
      (error: unknown) => () => {
        throw error;
      },
    ],
    [
      'later',
      (error: unknown) => () =>
        later(() => {
          throw error;
        }),
    ],
  ] as const;

  describe.each(steps)('in %s', (step) => {
    it.each(forms)(
      '%s on the server answers with its error, masked unless it is one of rap',
      async (_form, failing) => {
        for (const [thrown, expected] of [
          [
            new AuthError('not you', { details: { a: 1 } }),
            { name: 'AuthError', status: 401, message: 'not you', details: { a: 1 } },
          ],
          [new TypeError('a secret'), { name: 'ServerError', status: 500, message: 'Internal server error' }],
          [undefined, { name: 'ServerError', status: 500, message: 'Internal server error' }],
        ] as const) {
          const test = await scope.serve([Things], { processors: [{ [step]: failing(thrown) }] });
          const client = test.client();
          expect(await rejection(client.call('echo', 1))).toMatchObject(expected);
          expect(test.log.lines.filter((line) => line.includes('a secret'))).toHaveLength(
            thrown instanceof TypeError ? 1 : 0,
          );
          await eventually('nothing is in flight', () => test.server.stats().inFlight === 0);
          expect(seen.runs).toBe(step === 'processResponse' ? 1 : 0);
          forget();
        }
      },
    );

    it.each(forms)('%s on the client rejects the call with the very error', async (_form, failing) => {
      const test = await scope.serve([Things]);
      for (const thrown of [new AuthError('not you'), new TypeError('broken')]) {
        const client = test.client({ processors: [{ [step]: failing(thrown) }] });
        expect(await rejection(client.call('echo', 1))).toBe(thrown);
        expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0 });
        expect(seen.runs).toBe(step === 'processResponse' ? 1 : 0);
        forget();
      }
    });
  });

  it('shows unknown errors with exposeErrors', async () => {
    const test = await scope.serve([Things], {
      exposeErrors: true,
      processors: [
        {
          processRequest: () => {
            throw new TypeError('a secret');
          },
        },
      ],
    });
    const error = await rejection(test.client().call('echo', 1));
    expect(error).toBeInstanceOf(InvokeError);
    expect(error).toMatchObject({ remoteName: 'TypeError', message: 'a secret' });
  });

  it('unwinds: those before it in the request see the error, those behind it see nothing', async () => {
    const log: string[] = [];
    const failing: RapProcessor = {
      processRequest: () => {
        throw new AuthError('no');
      },
    };
    const test = await scope.serve([Things], {
      processors: [new Recorder('s1', log), failing, new Recorder('s2', log)],
    });
    await rejection(test.client().call('echo', 1));
    expect(log).toEqual([
      's1 enter call',
      's2 enter call',
      's1 request call 1',
      's1 response call nothing error 401',
      's2 exit AuthError',
      's1 exit AuthError',
    ]);
  });

  it('unwinds: an error in the response goes on through the others', async () => {
    const log: string[] = [];
    const failing: RapProcessor = {
      processResponse: () => {
        throw new AuthError('no');
      },
    };
    const test = await scope.serve([Things], {
      processors: [new Recorder('s1', log), failing, new Recorder('s2', log)],
    });
    const client = test.client({ processors: [new Recorder('c1', log)] });
    await rejection(client.call('echo', 1));
    expect(log.filter((line) => line.includes('response') || line.includes('exit'))).toEqual([
      's2 response call 1',
      's1 response call 1 error 401',
      's2 exit AuthError',
      's1 exit AuthError',
      'c1 response call nothing error 401'.replace('nothing', '"no"'),
      'c1 exit AuthError',
    ]);
  });

  it('in onContextEnter unwinds those that were entered, and only those', async () => {
    const log: string[] = [];
    const failing: RapProcessor = {
      onContextEnter: () => {
        throw new AuthError('no');
      },
      onContextExit: () => void log.push('never'),
    };
    const test = await scope.serve([Things], {
      processors: [new Recorder('s1', log), failing, new Recorder('s2', log)],
    });
    await rejection(test.client().call('echo', 1));
    expect(log).toEqual(['s1 enter call', 's1 exit AuthError']);
  });

  it.each(forms)('in onContextExit %s is logged, and changes nothing', async (_form, failing) => {
    const test = await scope.serve([Things], {
      processors: [new Recorder('s1'), { onContextExit: failing(new TypeError('too late')) }],
    });
    expect(await test.client().call('echo', 1)).toBe(1);
    await eventually('it is logged', () => test.log.lines.some((line) => line.includes('too late')));
  });

  it('in emit fails the event, and nothing is sent', async () => {
    const test = await scope.serve([Things]);
    for (const work of [
      (): never => {
        throw new TypeError('no');
      },
      (): Promise<never> =>
        later(() => {
          throw new TypeError('no');
        }),
    ]) {
      const client = test.client({ processors: [{ processRequest: work }] });
      expect(await rejection(lastValueFrom(client.emit('happened', 1)))).toMatchObject({ message: 'no' });
    }
    await test.client().call('echo', 1);
    expect(seen.events).toEqual([]);
  });
});

describe('a processor that returns garbage', () => {
  it.each([1, 'text', null, [], {}, { header: 1, body: 1 }, { body: 1, header: [] }])(
    'such as %j is an error',
    async (garbage) => {
      const both = { processRequest: () => garbage as never };
      const test = await scope.serve([Things], { processors: [both] });
      expect(await rejection(test.client().call('echo', 1))).toMatchObject({ name: 'ServerError' });
      expect(test.log.lines.join()).toMatch(/message/);
      const other = await scope.serve([Things]);
      const client = other.client({ processors: [{ processResponse: () => later(() => garbage as never) }] });
      expect(await rejection(client.call('echo', 1))).toMatchObject({ name: 'TypeError' });
      expect(await all(client.stream('count', 2)).catch((error: Error) => error.name)).toBe('TypeError');
    },
  );

  it('such as a body that cannot be encoded answers with an error', async () => {
    const test = await scope.serve([Things], {
      processors: [{ processResponse: (response) => void (response.body = endless()) }],
    });
    expect(await rejection(test.client().call('echo', 1))).toMatchObject({ name: 'ServerError' });
    const other = await scope.serve([Things]);
    const client = other.client({
      processors: [{ processRequest: (request) => void (request.body = endless()) }],
    });
    await rejection(client.call('echo', 1));
    expect(client.stats().inFlight).toBe(0);
  });

  it('such as an error that is none is masked', async () => {
    const test = await scope.serve([Things], {
      processors: [{ processResponse: (response) => void (response.error = 5 as never) }],
    });
    expect(await rejection(test.client().call('echo', 1))).toBeInstanceOf(ServerError);
  });
});

describe('a processor that hangs', () => {
  it.each(['onContextEnter', 'processRequest'] as const)(
    'in %s on the server: the run timeout answers',
    async (step) => {
      const exits: unknown[] = [];
      const test = await scope.serve([Things], {
        runTimeoutMs: 50,
        processors: [{ onContextExit: (_context, error) => void exits.push(error) }, { [step]: never }],
      });
      const client = test.client();
      expect(await rejection(client.call('echo', 1))).toMatchObject({ remoteName: 'RpcRunTimeError' });
      // as with a handler that hangs: its slot is not free
      expect(test.server.stats().inFlight).toBe(1);
      expect(exits).toMatchObject([{ message: 'Call slow timeout' }]);
    },
  );

  it('in processResponse on the server: the run timeout answers, also the timeout of a handler', async () => {
    const test = await scope.serve([Things], { runTimeoutMs: 50, processors: [{ processResponse: never }] });
    const client = test.client();
    expect(await rejection(client.call('echo', 1))).toMatchObject({ remoteName: 'RpcRunTimeError' });
    expect(await rejection(client.call('hang'))).toMatchObject({ remoteName: 'RpcRunTimeError' });
  });

  it.each(['onContextEnter', 'processRequest', 'processResponse'] as const)(
    'in %s on the client: the call times out',
    async (step) => {
      const exits: unknown[] = [];
      let hangs = false;
      const hang = (): Promise<never> => {
        hangs = true;
        return never();
      };
      const time = scope.stopTime();
      const test = await scope.serve([Things]);
      const client = test.client({
        callTimeoutMs: 100,
        processors: [{ onContextExit: (_context, error) => void exits.push(error) }, { [step]: hang }],
      });
      const calling = rejection(client.call('echo', 1));
      await eventually('it hangs', () => hangs);
      expect(client.stats().inFlight).toBe(1);
      time.pass(100);
      expect(await calling).toMatchObject({
        name: 'CallTimeoutError',
        phase: step === 'processResponse' ? 'response' : 'queue',
      });
      expect(client.stats().inFlight).toBe(0);
      expect(exits).toMatchObject([{ name: 'CallTimeoutError' }]);
    },
  );

  it.each(['onContextEnter', 'processRequest'] as const)(
    'in %s of an event: the event fails with its time, or with its connection, and is not sent later',
    async (step) => {
      const exits: unknown[] = [];
      const gate = new Gate();
      const test = await scope.serve([Things]);
      const client = test.client({
        callTimeoutMs: 1000,
        processors: [
          { onContextExit: (_context, error) => void exits.push(error) },
          { [step]: () => gate.opened },
        ],
      });
      await client.connect(); // its time is for the processor
      const emitted = (): Promise<unknown> => rejection(lastValueFrom(client.emit('happened', 1)));
      expect(await within('the end', emitted())).toMatchObject({ name: 'CallTimeoutError', phase: 'queue' });
      const lost = emitted();
      client.close();
      expect(await within('the end', lost)).toMatchObject({ name: 'ConnectionLostError', sent: 'no' });
      expect(exits).toMatchObject([{ name: 'CallTimeoutError' }, { name: 'ConnectionLostError' }]);
      gate.open();
      expect(await client.call('echo', 1)).toBe(1); // behind whatever would have been sent
      expect([seen.events, exits.length]).toEqual([[], 3]);
    },
  );

  it('keeps its slot on the client', async () => {
    const gate = new Gate();
    const test = await scope.serve([Things]);
    const client = test.client({
      limits: { maxInFlight: 1 },
      processors: [{ processRequest: () => gate.opened }],
    });
    const calls = [client.call('echo', 1), client.call('echo', 2)];
    await eventually('one waits', () => client.stats().queued === 1);
    gate.open();
    expect(await Promise.all(calls)).toEqual([1, 2]);
  });
});

describe('a server that shuts down', () => {
  it('answers what processors work on, and a client takes what it has not sent elsewhere', async () => {
    const gate = new Gate();
    const arrived = new Gate();
    const test = await scope.serve([Things], {
      processors: [{ processResponse: () => (arrived.open(), gate.opened) }],
    });
    const client = test.client();
    const call = client.call('echo', 1);
    await arrived.opened;
    const closing = test.app.close();
    gate.open();
    expect(await within('the answer', call)).toBe(1);
    await closing;
  });

  it('begins a call anew that was not sent when the connection went', async () => {
    const log: string[] = [];
    const gates = [new Gate(), new Gate()];
    const test = await scope.serve([Things]);
    const client = test.client({
      processors: [
        new Recorder('c', log),
        { processRequest: () => gates[log.filter((it) => it.includes('request')).length - 1]?.opened },
      ],
    });
    const call = client.call('echo', 1);
    await eventually('processors work on it', () => log.length === 2);
    const { port } = test;
    await test.app.close();
    const next = new RapServer({ host: '127.0.0.1', port });
    next.addHandler('echo', (body: unknown) => Promise.resolve(body as never));
    await new Promise((resolve) => next.listen(resolve));
    scope.defer(() => next.close());
    await eventually('it begins anew', () => log.filter((it) => it.includes('enter')).length === 2);
    gates[0]?.open();
    gates[1]?.open();
    expect(await within('the answer', call)).toBe(1);
    expect(log).toEqual([
      'c enter call',
      'c request call 1',
      'c exit ConnectionLostError',
      'c enter call',
      'c request call 1',
      'c response call 1',
      'c exit',
    ]);
  });
});
