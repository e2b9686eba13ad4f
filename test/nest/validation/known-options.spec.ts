import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import {
  AccessLogMiddleware,
  CircuitBreakerProcessor,
  ConnLimitMiddleware,
  CryptoProcessor,
  defineService,
  IpFilterMiddleware,
  IpMaxConnMiddleware,
  type RateLimitOptions,
  RateLimitProcessor,
  type RateLimitRule,
  RapClient,
  type RapClientOptions,
  RapExceptionFilter,
  RapModule,
  RapServer,
  type RapServerOptions,
  unary,
} from '../../../lib/index.js';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

@Controller()
class EchoController {
  @MessagePattern('echo') echo(data: unknown): unknown {
    return data;
  }
}

const register = (given: unknown): unknown => RapModule.register(given as never);
const registerAsync = (given: unknown): unknown => RapModule.registerAsync(given as never);

describe('options that do not exist are refused by name, with the nearest that does', () => {
  const server: [object, string][] = [
    [{ prot: 9000 }, 'prot is not an option; did you mean port?'],
    [{ url: 'rap://localhost' }, 'url is not an option; did you mean host and port?'],
    [{ runTimeoutMS: 1 }, 'runTimeoutMS is not an option; did you mean runTimeoutMs?'],
    [
      { limits: { maxConnection: 1 } },
      'limits.maxConnection is not an option; did you mean limits.maxConnections?',
    ],
    [
      { keepAlive: { interval: 1 } },
      'keepAlive.interval is not an option; did you mean keepAlive.intervalMs?',
    ],
    [
      { events: { beforStart: () => {} } },
      'events.beforStart is not an option; did you mean events.beforeStart?',
    ],
    [{ port: Number.NaN }, 'port must be a whole number from 0 to 65535, got NaN'],
    [{ port: 'http' }, "port must be a whole number from 0 to 65535, got 'http'"],
    [{ port: 70_000 }, 'port must be a whole number from 0 to 65535, got 70000'],
    [{ host: 9000 }, 'host must be text, got 9000'],
    [{ runTimeoutMs: Number.NaN }, 'runTimeoutMs must be a number above 0, got NaN'],
    [{ closeTimeoutMs: Number.NaN }, 'closeTimeoutMs must be a number of at least 0, got NaN'],
    [{ limits: { maxInFlight: Number.NaN } }, 'limits.maxInFlight must be a number of at least 0, got NaN'],
    [{ limits: 5 }, 'limits must be an object, got 5'],
    [{ tls: 'yes' }, "tls must be an object, got 'yes'"],
    [{ processors: {} }, 'processors must be a list, got {}'],
    [{ middleware: 'log' }, "middleware must be a list, got 'log'"],
  ];
  it.each(server)('of a server: %j', (options, message) => {
    expect(() => new RapServer(options as RapServerOptions)).toThrow(new RegExp(escaped(message)));
  });

  const client: [object, string][] = [
    [{ prot: 9000 }, 'prot is not an option; did you mean port?'],
    [{ url: 'rap://localhost' }, 'url is not an option; did you mean host and port?'],
    [{ servers: [{ prot: 9000 }] }, 'servers[0].prot is not an option; did you mean servers[0].port?'],
    [{ servers: [{ port: Number.NaN }] }, 'servers[0].port must be a whole number from 1'],
    [
      { reconnect: { baseDelay: 1 } },
      'reconnect.baseDelay is not an option; did you mean reconnect.baseDelayMs?',
    ],
    [{ timeout: 1 }, 'timeout is not an option; did you mean callTimeoutMs?'],
    [{ callTimeoutMs: Number.NaN }, 'callTimeoutMs must be a number above 0, got NaN'],
    [{ callTimeoutMs: '5' }, "callTimeoutMs must be a number above 0, got '5'"],
    [{ callTimeoutMs: null }, 'callTimeoutMs must be a number above 0, got null'],
    [{ servers: { port: 9000 } }, 'servers must be a list, got { port: 9000 }'],
    [{ tls: 'yes' }, "tls must be an object, got 'yes'"],
    [{ metadata: 'x' }, "metadata must be an object, got 'x'"],
    [{ processors: {} }, 'processors must be a list, got {}'],
    [{ runTimeoutMs: 5 }, 'runTimeoutMs is not an option'],
  ];
  it.each(client)('of a client: %j', (options, message) => {
    expect(() => new RapClient(options as RapClientOptions)).toThrow(new RegExp(escaped(message)));
  });

  it('of a client of the module', () => {
    expect(() => RapModule.register([{ name: 'X', prot: 9000 } as never])).toThrow('did you mean port?');
  });

  it('of a call, a stream and a channel', async () => {
    const { client: connect } = await scope.serve([EchoController]);
    const rap = connect();
    const message = 'options of a call: timeoutMS is not an option; did you mean timeoutMs?';
    const options = { timeoutMS: 5 } as object;

    expect(await rejection(rap.call('echo', 1, options))).toMatchObject({ name: 'RangeError', message });
    expect(await rejection(rap.channel('echo', options))).toMatchObject({ name: 'RangeError', message });
    const reading = rap.stream('echo', 1, options)[Symbol.asyncIterator]().next();
    expect(await rejection(reading)).toMatchObject({ name: 'RangeError', message });
    for (const [name, value, what] of [
      ['timeoutMs', '5', 'a number above 0'],
      ['header', 'x', 'an object'],
    ] as const) {
      const failed = await rejection(rap.call('echo', 1, { [name]: value }));
      expect(failed).toMatchObject({
        name: 'RangeError',
        message: `${name} must be ${what}, got '${value}'`,
      });
    }
    expect(await rap.call('echo', 1, { timeoutMs: 5_000, header: {}, idempotent: true })).toBe(1);
  });

  it('of a handler: an extra that is one of rap but for a letter fails the start, another one does not', async () => {
    @Controller()
    class MisspeltController {
      @MessagePattern('a', { privat: true }) a(): void {}
    }
    @Controller()
    class ForeignController {
      @MessagePattern('a', { role: 'admin', id: 7, key: 'x', type: 1, docs: undefined }) a(): void {}
    }
    const failed = await rejection(scope.serve([MisspeltController]));
    expect(failed.message).toContain("there is no extra 'privat'; did you mean private?");
    await scope.serve([ForeignController]);
  });

  const plugins: [string, () => unknown, string][] = [
    [
      'ConnLimitMiddleware',
      () => new ConnLimitMiddleware({ maxConnection: 1 } as object),
      'maxConnection is not an option; did you mean ConnLimitMiddleware.maxConnections?',
    ],
    [
      'IpMaxConnMiddleware',
      () => new IpMaxConnMiddleware({ timeoutMS: 1 } as object),
      'timeoutMS is not an option; did you mean IpMaxConnMiddleware.timeoutMs?',
    ],
    [
      'IpFilterMiddleware',
      () => new IpFilterMiddleware({ alow: ['::1'] } as object),
      'alow is not an option; did you mean IpFilterMiddleware.allow?',
    ],
    [
      'AccessLogMiddleware',
      () => new AccessLogMiddleware({ samples: 1 } as object),
      'samples is not an option; did you mean AccessLogMiddleware.sample?',
    ],
    [
      'RateLimitProcessor',
      () => new RateLimitProcessor({ rules: [], rates: 1 } as RateLimitOptions),
      'rates is not an option; did you mean RateLimitProcessor.rate?',
    ],
    [
      'a rule',
      () => new RateLimitProcessor({ rules: [{ key: () => 'k', bursts: 1 } as RateLimitRule] }),
      'rules[0].bursts is not an option; did you mean rules[0].burst?',
    ],
    [
      'CircuitBreakerProcessor',
      () => new CircuitBreakerProcessor({ window: 1 } as object),
      'window is not an option; did you mean CircuitBreakerProcessor.windowMs?',
    ],
    [
      'RapExceptionFilter',
      () => new RapExceptionFilter(undefined, { exposeError: true } as object),
      'exposeError is not an option; did you mean RapExceptionFilter.exposeErrors?',
    ],
  ];
  it.each(plugins)('of a plugin: %s', (_name, make, message) => {
    expect(make).toThrow(message);
  });

  it('of the module', () => {
    for (const nothing of [undefined, null, 'MATH'])
      for (const way of [register, registerAsync])
        expect(() => way(nothing)).toThrow('takes a list of clients, or { clients, isGlobal }');
    expect(() => registerAsync([{ name: 'MATH', port: 1 }])).toThrow('port is not an option');
    expect(() => registerAsync([{ name: 'MATH' }])).toThrow('the client MATH has no useFactory');
    expect(() => register({ name: 'MATH', port: 1 })).toThrow('a list of clients, or { clients, isGlobal }');
    expect(() => register({ client: [] })).toThrow('did you mean clients?');
    expect(() => register([{ port: 1 }])).toThrow('a client has no name');
    expect(() => register([{ name: 'MATH' }, { name: 'MATH' }])).toThrow('two clients have the name MATH');
    const services = [defineService('math', { sum: unary<object, number>() })];
    for (const way of [register, registerAsync]) {
      const made = way === registerAsync ? { useFactory: () => ({}) } : {};
      expect(() => way(['A', 'B'].map((name) => ({ name, services, ...made })))).toThrow(
        "two clients, A and B, name the contract 'math'",
      );
    }
    expect(() => registerAsync([{ name: 'A', useFactory: () => ({}), injects: [] }])).toThrow(
      'did you mean inject?',
    );
  });
});

it('undefined is as absent', async () => {
  const { client, server } = await scope.serve([EchoController], {
    host: undefined,
    runTimeoutMs: undefined,
    tls: undefined,
    limits: { maxInFlight: undefined },
    keepAlive: undefined,
    registry: undefined,
    bindUntagged: undefined,
    middleware: undefined,
    processors: undefined,
    events: { beforeStart: undefined },
  });
  const { port } = server.address() as { port: number };
  const rap = client({ port, servers: undefined, tls: undefined, metadata: undefined, reconnect: undefined });
  const options = {
    timeoutMs: undefined,
    deadline: undefined,
    signal: undefined,
    session: undefined,
    header: undefined,
  };
  expect(await rap.call('echo', 1, options)).toBe(1);
});

it('undefined is as absent in the options of plugins', () => {
  const gate = { maxConnections: undefined, blockTimeMs: undefined, store: undefined, clock: undefined };
  const rate = { rate: undefined, burst: undefined, name: undefined };
  const make = (): unknown[] => [
    new ConnLimitMiddleware({ ...gate, leaseMs: undefined, name: undefined }),
    new IpMaxConnMiddleware({ ...gate, timeoutMs: undefined }),
    new IpFilterMiddleware({ allow: undefined, block: undefined, pollMs: undefined }),
    new AccessLogMiddleware({ sample: undefined, log: undefined }),
    new RateLimitProcessor({ rules: [{ key: () => 'k', ...rate }], maxKeys: undefined }),
    new CircuitBreakerProcessor({ k: undefined, key: undefined, breaker: undefined }),
    new CryptoProcessor({
      keys: { k: randomBytes(32) },
      mode: undefined,
      required: undefined,
      now: undefined,
    }),
    new RapExceptionFilter(undefined, { exposeErrors: undefined }),
  ];
  expect(make).not.toThrow();
});

it('an extra that is undefined does not tag a handler', async () => {
  @Controller()
  class UntaggedController {
    @MessagePattern('a', { private: undefined }) a(): void {}
    @MessagePattern('b', { private: false }) b(): void {}
  }
  const { server } = await scope.serve([UntaggedController], { bindUntagged: false });
  expect(server.getHandlerByPattern('a')).toBe(null);
  expect(server.getHandlerByPattern('b')).toBeInstanceOf(Function);
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
