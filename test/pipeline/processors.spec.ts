import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import {
  AuthError,
  InvokeError,
  RapClient,
  RapModule,
  RapProcessor,
  RapServer,
  ServerError,
  TooManyRequestsError,
  type ProcessorContext,
  type RapRequest,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope, within } from '../helpers/async.js';
import { all, forget, later, never, Recorder, seen, SlowRecorder, Things } from './handlers.js';

const scope = testScope();
beforeEach(forget);

const double: RapProcessor = {
  processRequest(request) {
    request.body = (request.body as number) * 2;
  },
  processResponse(response) {
    if (!response.error) response.body = (response.body as number) * 2;
  },
};
@Injectable()
class Own extends RapProcessor {
  constructor(@Inject('MARK') private readonly mark: string) {
    super();
  }
  override processRequest(request: RapRequest): void {
    request.body = `${String(request.body)} ${this.constructor.name}${this.mark}`;
  }
}
@Injectable()
class Exported extends Own {}

/** What no frame can carry. */
function endless(): unknown {
  const list: unknown[] = [];
  list.push(list);
  return list;
}
const plusOne: RapProcessor = {
  processRequest: (request) => ({ ...request, body: (request.body as number) + 1 }),
  processResponse: async (response) => later(() => ({ ...response, body: (response.body as number) + 1 })),
};

describe('a call', () => {
  it('passes requests in order and responses in reverse, on both sides', async () => {
    const log: string[] = [];
    const test = await scope.serve([Things], {
      processors: [new Recorder('s1', log), new Recorder('s2', log)],
    });
    const client = test.client({ processors: [new Recorder('c1', log), new Recorder('c2', log)] });
    expect(await client.call('echo', 1)).toBe(1);
    expect(log).toEqual([
      'c1 enter call',
      'c2 enter call',
      'c1 request call 1',
      'c2 request call 1',
      's1 enter call',
      's2 enter call',
      's1 request call 1',
      's2 request call 1',
      's2 response call 1',
      's1 response call 1',
      's2 exit',
      's1 exit',
      'c2 response call 1',
      'c1 response call 1',
      'c2 exit',
      'c1 exit',
    ]);
  });

  it('does the same where every step takes its time', async () => {
    const fast: string[] = [];
    const slow: string[] = [];
    for (const [log, Kind] of [[fast, Recorder] as const, [slow, SlowRecorder] as const]) {
      const test = await scope.serve([Things], { processors: [new Kind('s1', log), new Kind('s2', log)] });
      const client = test.client({ processors: [new Kind('c1', log), new Kind('c2', log)] });
      await client.call('echo', 1);
    }
    expect(slow).toEqual(fast);
    expect(slow).toHaveLength(16);
  });

  it('carries what they make of the body, by change and by replacement', async () => {
    const test = await scope.serve([Things], { processors: [double, plusOne] });
    const client = test.client({ processors: [plusOne] });
    // client (10 + 1), server (11 * 2 + 1), handler 23, server ((23 + 1) * 2), client 48 + 1
    expect(await client.call('echo', 10)).toBe(49);
  });

  it('shows and changes headers, and leaves alone what the protocol says in them', async () => {
    const test = await scope.serve([Things], {
      processors: [
        {
          processRequest(request) {
            seen.metadata.push({ ...request.header });
            request.header = { ...request.header, target: '/default/refuse', by: 'server' };
          },
          processResponse(response) {
            response.header['status_code'] = 500;
            response.header['by'] = 'server';
          },
        },
      ],
    });
    let answer: Record<string, unknown> = {};
    const client = test.client({
      processors: [
        {
          processRequest(request) {
            request.header['token'] = 'abc';
            request.header['target'] = '/default/refuse';
          },
          processResponse(response) {
            answer = { ...response.header };
          },
        },
      ],
    });
    expect(await client.call('echo', 1, { header: { mine: 1 } })).toBe(1);
    expect(seen.metadata).toEqual([{ target: '/default/echo', mine: 1, token: 'abc' }]);
    expect(seen.headers).toEqual([{ target: '/default/echo', mine: 1, token: 'abc', by: 'server' }]);
    expect(answer).toEqual({ by: 'server' });
    expect(await client.call('header')).toBe('done');
    expect(answer).toEqual({ from: 'handler', by: 'server' });
  });

  it('tells them who calls what, in one context for both messages', async () => {
    const contexts: ProcessorContext[] = [];
    const views: unknown[] = [];
    const watch: RapProcessor = {
      onContextEnter: (context) => void contexts.push(context),
      processRequest(request, context) {
        contexts.push(context);
        const { kind, lifeCycle, target, group, name, id, bytes } = request;
        views.push({ kind, lifeCycle, target, group, name, sameId: id === context.id, sized: bytes > 10 });
        context.state.set('began', true);
      },
      processResponse(_response, context) {
        contexts.push(context);
        expect(context.state.get('began')).toBe(true);
      },
      onContextExit: (context) => void contexts.push(context),
    };
    const test = await scope.serve([Things], { processors: [watch] });
    const client = test.client({ metadata: { app: 'shop' } });
    await client.call('echo', 1);
    expect(views).toEqual([
      {
        kind: 'call',
        lifeCycle: undefined,
        target: '/default/echo',
        group: 'default',
        name: 'echo',
        sameId: true,
        sized: true,
      },
    ]);
    expect(new Set(contexts).size).toBe(1);
    expect(contexts).toHaveLength(4);
    const [context] = contexts as [ProcessorContext];
    expect(context).toMatchObject({ side: 'server', kind: 'call', target: '/default/echo' });
    expect(context.metadata).toEqual({ app: 'shop' });
    expect(context.peer.address).toBe('127.0.0.1');
    expect(context.connection.metadata).toEqual({ app: 'shop' });
    await client.call('echo', 2);
    expect(contexts.at(-1)).not.toBe(context);
    expect(contexts.at(-1)?.connection).toBe(context.connection);
  });

  it('shows errors of handlers, which may be replaced or answered', async () => {
    const errors: unknown[] = [];
    const test = await scope.serve([Things], {
      processors: [
        {
          processResponse(response) {
            if (!response.error) return;
            const { status, code, message, details } = response.error;
            errors.push({ status, code, message, details });
            if (response.target === '/default/break') {
              response.error = undefined;
              response.body = 'all is well';
            } else response.error = new TooManyRequestsError('later', { details: { ms: 5 } });
          },
        },
      ],
    });
    const client = test.client();
    expect(await client.call('break')).toBe('all is well');
    expect(await rejection(client.call('refuse'))).toMatchObject({
      name: 'TooManyRequestsError',
      message: 'later',
      details: { ms: 5 },
    });
    expect(errors).toEqual([
      { status: 500, code: 'ERR_RAP_SERVER', message: 'Internal server error', details: undefined },
      { status: 401, code: 'ERR_RAP_AUTH', message: 'no', details: { why: 'because' } },
    ]);
  });

  it('sees calls of functions that do not exist', async () => {
    const recorder = new Recorder('s');
    const test = await scope.serve([Things], { processors: [recorder] });
    expect(await rejection(test.client().call('nope', 1))).toMatchObject({ name: 'FuncNotFoundError' });
    expect(recorder.log).toEqual([
      's enter call',
      's request call 1',
      's response call nothing error 404',
      's exit FuncNotFoundError',
    ]);
  });

  it('does not see calls that a limit of the server refuses', async () => {
    const recorder = new Recorder('s');
    const test = await scope.serve([Things], { processors: [recorder], limits: { maxInFlightTotal: 1 } });
    const client = test.client();
    const first = client.call('hang').catch(() => {});
    await eventually('the first runs', () => seen.runs === 1);
    expect(await rejection(client.call('echo', 1))).toMatchObject({ name: 'TooManyRequestsError' });
    expect(recorder.log).toEqual(['s enter call', 's request call null']);
    client.close();
    await first;
  });

  it('works through Nest, too: send, and emit', async () => {
    const log: string[] = [];
    const test = await scope.serve([Things], { processors: [new SlowRecorder('s', log)] });
    const client = test.client({ processors: [new SlowRecorder('c', log)] });
    expect(await firstValueFrom(client.send('echo', 3))).toBe(3);
    log.length = 0;
    await lastValueFrom(client.emit('happened', 'x'), { defaultValue: undefined });
    await eventually('the event is handled', () => log.includes('s exit'));
    expect(log).toEqual([
      'c enter event',
      'c request call "x"',
      'c exit',
      's enter event',
      's request call "x"',
      's exit',
    ]);
    expect(seen.events).toEqual(['x']);
  });

  it('does not hold up calls that come after it', async () => {
    const gate = new Gate();
    const test = await scope.serve([Things], {
      processors: [{ processRequest: ({ body }) => (body === 'slow' ? gate.opened : undefined) }],
    });
    const client = test.client();
    const slow = client.call('echo', 'slow');
    expect(await client.call('echo', 'fast')).toBe('fast');
    gate.open();
    expect(await slow).toBe('slow');
  });
});

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

describe('the end of a call', () => {
  it.each([new Recorder('x'), new SlowRecorder('x')])('is told once, on cancel and on loss', async (kind) => {
    const Kind = kind.constructor as typeof Recorder;
    const log: string[] = [];
    const test = await scope.serve([Things], { processors: [new Kind('s', log)] });
    const client = test.client({ processors: [new Kind('c', log)] });
    const controller = new AbortController();
    const cancelled = rejection(client.call('hang', undefined, { signal: controller.signal }));
    await eventually('it runs', () => seen.runs === 1);
    controller.abort();
    await cancelled;
    await eventually('the server knows', () => log.some((line) => line.startsWith('s exit')));
    const lost = rejection(client.call('hang'));
    await eventually('it runs', () => seen.runs === 2);
    client.close();
    await lost;
    await eventually('the server knows', () => log.filter((line) => line.startsWith('s exit')).length === 2);
    const exits = log.filter((line) => line.includes('exit'));
    expect(exits.filter((line) => line.startsWith('c'))).toEqual([
      'c exit CallCancelledError',
      'c exit ConnectionLostError',
    ]);
    expect(exits.filter((line) => line.startsWith('s'))).toEqual([
      's exit CallCancelledError',
      's exit ConnectionLostError',
    ]);
  });

  it('is told also where the beginning was not over', async () => {
    const gate = new Gate();
    const log: string[] = [];
    const test = await scope.serve([Things], {
      processors: [
        new Recorder('s1', log),
        {
          onContextEnter: async () => {
            log.push('s2 enters');
            await gate.opened;
          },
          onContextExit: () => void log.push('s2 exit'),
        },
        new Recorder('s3', log),
      ],
    });
    const client = test.client();
    const controller = new AbortController();
    const call = rejection(client.call('echo', 1, { signal: controller.signal }));
    await eventually('it enters', () => log.includes('s2 enters'));
    controller.abort();
    await call;
    await eventually('the first is told', () => log.includes('s1 exit CallCancelledError'));
    expect(log).not.toContain('s2 exit');
    gate.open();
    await eventually('the second is told', () => log.includes('s2 exit'));
    await eventually('the slot is free', () => test.server.stats().inFlight === 0);
    expect(log).toEqual(['s1 enter call', 's2 enters', 's1 exit CallCancelledError', 's2 exit']);
    expect(seen.runs).toBe(0);
  });

  it('a cancelled call does not reach the handler once the processors are done', async () => {
    const gate = new Gate();
    const recorder = new Recorder('s');
    const test = await scope.serve([Things], {
      processors: [recorder, { processRequest: () => gate.opened }],
    });
    const client = test.client();
    const controller = new AbortController();
    const call = rejection(client.call('echo', 1, { signal: controller.signal }));
    await eventually('it is there', () => test.server.stats().inFlight === 1);
    controller.abort();
    await call;
    await eventually('the server knows', () => recorder.log.includes('s exit CallCancelledError'));
    expect(test.server.stats().inFlight).toBe(1);
    gate.open();
    await eventually('the slot is free', () => test.server.stats().inFlight === 0);
    expect(seen.runs).toBe(0);
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

const make = (processors: unknown[]) => (): RapServer => new RapServer({ processors: processors as never });
const makeClient = (processors: unknown[]) => (): RapClient =>
  new RapClient({ processors: processors as never });

describe('what is loaded', () => {
  it('must be processors, each once', () => {
    const one = new Recorder('x');
    for (const each of [make, makeClient]) {
      expect(each([one, new Recorder('x'), one])).toThrow('the same Recorder is loaded twice');
      expect(each([Recorder])).toThrow('processors[0] is the class Recorder: pass an instance of it');
      expect(each([one, {}])).toThrow('processors[1] has none of the methods');
      expect(each([one, { processRequest: 5 }])).toThrow('processors[1].processRequest must be a function');
      expect(each([null])).toThrow('processors[0] must be an object, got null');
      expect(each([one])).not.toThrow();
    }
  });

  it('may be providers of Nest, made for a client by RapModule or exported by another module', async () => {
    class WordsModule {}
    const mark = { provide: 'MARK', useValue: '!' };
    Module({ providers: [mark, Exported], exports: [mark, Exported] })(WordsModule);
    const test = await scope.serve([Things]);
    class App {}
    Module({
      imports: [
        RapModule.registerAsync([
          {
            name: 'RAP',
            imports: [WordsModule],
            extraProviders: [Own],
            inject: [Own, Exported],
            useFactory: (...processors: RapProcessor[]) => ({
              host: '127.0.0.1',
              port: test.port,
              processors,
            }),
          },
        ]),
      ],
    })(App);
    const app = await NestFactory.createApplicationContext(App, { logger: false });
    scope.defer(() => app.close());
    expect(await app.get<RapClient>('RAP').call('echo', 'say')).toBe('say Own! Exported!');
  });

  it('may be shared by two servers', async () => {
    const shared = new Recorder('s');
    for (let i = 0; i < 2; i++) {
      const test = await scope.serve([Things], { processors: [shared] });
      await test.client().call('echo', i);
    }
    expect(shared.log.filter((line) => line.includes('request'))).toHaveLength(2);
  });
});
