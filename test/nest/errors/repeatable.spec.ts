import 'reflect-metadata';
import { Controller, HttpException } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import {
  ChannelPattern,
  InvokeError,
  ParseError,
  type RapClient,
  RapError,
  type RapErrorOptions,
  type RapProcessor,
  RateLimitProcessor,
  registerError,
  TooManyRequestsError,
} from '../../../lib/index.js';
import { Gate, rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

let thrown: () => unknown = () => undefined;
let finish = new Gate();
beforeEach(() => (finish = new Gate()));

@Controller()
class Handlers {
  @MessagePattern('throw') throw(): never {
    throw thrown();
  }
  @MessagePattern('await') async await(): Promise<never> {
    throw await thrown();
  }
  @MessagePattern('wait') async wait(): Promise<string> {
    await finish.opened;
    return 'done';
  }
  @ChannelPattern('chat') async chat(): Promise<void> {
    await finish.opened;
  }
  @ChannelPattern('fail') async fail(): Promise<void> {
    throw await thrown();
  }
}

class NoStockError extends RapError {
  constructor(message: string, options?: RapErrorOptions) {
    super(message, { code: 'ERR_NO_STOCK', ...options });
  }
}

class ForgetfulError extends RapError {
  constructor(message: string) {
    super(message, {});
  }
}

beforeAll(() => {
  registerError(NoStockError);
  registerError(ForgetfulError);
});

/** How a channel ends, or fails to open. */
async function closedOf(rap: RapClient, pattern: string): Promise<unknown> {
  const channel = await rap.channel(pattern);
  return channel.closed;
}

const has = (error: unknown, key: string): boolean => key in (error as object);

describe('a call that no handler has seen has sent: no', () => {
  it.each(['call', 'channel'] as const)('a limit refuses a %s', async (kind) => {
    const { client } = await scope.serve([Handlers], {
      limits: { maxInFlightTotal: 1, maxChannelsTotal: 1 },
    });
    const [first, second] = [client(), client()];
    await second.connect();
    const start = (rap: RapClient): Promise<unknown> =>
      kind === 'call' ? rap.call('wait') : closedOf(rap, 'chat');
    const running = start(first);
    // in flight before the next one
    await first.ping();

    const error = await rejection(start(second));

    expect(error).toBeInstanceOf(TooManyRequestsError);
    expect(error).toMatchObject({ status: 429, sent: 'no' });
    finish.open();
    await running;
  });

  it('a rate limit refuses it', async () => {
    const limit = new RateLimitProcessor({ rules: [() => 'all'], rate: 1, burst: 1 });
    const { client } = await scope.serve([Handlers], { processors: [limit] });
    thrown = () => new ParseError('ran');
    expect(await rejection(client().call('throw'))).toBeInstanceOf(ParseError);
    expect(await rejection(client().call('throw'))).toMatchObject({ status: 429, sent: 'no' });
  });

  it('not if another error of a processor refuses it: it would be the same everywhere', async () => {
    const refuse: RapProcessor = {
      processRequest() {
        throw new ParseError('no');
      },
    };
    const { client } = await scope.serve([Handlers], { processors: [refuse] });
    expect(has(await rejection(client().call('wait')), 'sent')).toBe(false);
  });
});

describe('a 429 after a handler began has sent: unknown', () => {
  it.each<[string, () => unknown]>([
    ['a handler throws it', () => new TooManyRequestsError('mine')],
    ['with what only a client may say', () => new TooManyRequestsError('mine', { sent: 'no' })],
    ['as an HttpException', () => new HttpException('mine', 429)],
    [
      'as an object with the fields of a fault',
      () => new RapError('mine', { status: 429, refused: true } as never),
    ],
  ])('%s', async (_what, error) => {
    const { client } = await scope.serve([Handlers]);
    thrown = error;
    for (const pattern of ['throw', 'await']) {
      const got = await rejection(client().call(pattern));
      expect(got).toBeInstanceOf(TooManyRequestsError);
      expect(got).toMatchObject({ sent: 'unknown' });
    }
    expect(await rejection(closedOf(client(), 'fail'))).toMatchObject({ sent: 'unknown' });
  });

  it('a handler passes on that of a call of its own, which was refused', async () => {
    const limit = new RateLimitProcessor({ rules: [() => 'all'], rate: 1, burst: 1 });
    const inner = await scope.serve([Handlers], { processors: [limit] });
    thrown = () => new ParseError('ran');
    await rejection(inner.client().call('throw'));
    const refused = await rejection(inner.client().call('throw'));
    expect(refused).toMatchObject({ sent: 'no' });
    const outer = await scope.serve([Handlers]);
    thrown = () => refused;

    expect(await rejection(outer.client().call('throw'))).toMatchObject({ status: 429, sent: 'unknown' });
  });

  it('a processor throws it at the answer', async () => {
    const late: RapProcessor = {
      processResponse() {
        throw new TooManyRequestsError('late');
      },
    };
    const { client } = await scope.serve([Handlers], { processors: [late] });
    finish.open();
    expect(await rejection(client().call('wait'))).toMatchObject({ status: 429, sent: 'unknown' });
  });
});

describe('retry: false', () => {
  it.each<[string, () => RapError]>([
    ['RapError', () => new RapError('m', { retry: false })],
    ['InvokeError', () => new InvokeError('m', { retry: false })],
    ['TooManyRequestsError', () => new TooManyRequestsError('m', { retry: false })],
    ['a registered class', () => new NoStockError('m', { retry: false })],
    [
      'a registered class that ignores its options',
      () => Object.assign(new ForgetfulError('m'), { retry: false }),
    ],
  ])('of %s reaches the caller', async (_what, error) => {
    const { client } = await scope.serve([Handlers]);
    thrown = error;
    const got = await rejection(client().call('throw'));
    expect(got).toMatchObject({ message: 'm', retry: false });
    expect(await rejection(closedOf(client(), 'fail'))).toMatchObject({ retry: false });
    // and the caller's caller
    thrown = () => got;
    expect(await rejection(client().call('throw'))).toMatchObject({ retry: false });
  });

  it('is in the JSON of the error, for other transports', () => {
    expect(new RapError('m', { retry: false }).toJSON()).toMatchObject({ retry: false });
    expect(has(new RapError('m').toJSON(), 'retry')).toBe(false);
  });

  it.each([[undefined], [true], [0], ['no'], [null]])('is absent if it is %p', async (retry) => {
    const { client } = await scope.serve([Handlers]);
    thrown = () => Object.assign(new NoStockError('m', { retry: retry as never }), { retry });
    const error = await rejection(client().call('throw'));
    expect(error).toBeInstanceOf(NoStockError);
    expect(has(error, 'retry')).toBe(false);
    expect(has(new RapError('m'), 'retry')).toBe(false);
  });
});
