import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import {
  RapClient,
  RapModule,
  RapProcessor,
  RapServer,
  TooManyRequestsError,
  type ProcessorContext,
  type RapRequest,
} from '../../lib/index.js';
import { eventually, Gate, rejection, testScope } from '../helpers/async.js';
import { forget, later, Recorder, seen, SlowRecorder, Things } from './handlers.js';

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

  it('does the same if every step takes its time', async () => {
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

  it('is told also if the beginning was not over', async () => {
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
