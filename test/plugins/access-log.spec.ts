import { type CanActivate, Controller, Injectable, Logger, UseGuards } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, tap } from 'rxjs';
import {
  type AccessLogEntry,
  AccessLogMiddleware,
  type AccessLogOptions,
  ChannelPattern,
  ParseError,
  type RapChannel,
  RapContext,
  type RapServerOptions,
} from '../../lib/index.js';
import { eventually, testScope } from '../helpers/async.js';
import { FakeClock } from '../helpers/fake-clock.js';

const scope = testScope();
const clock = new FakeClock();

@Injectable()
class Nobody implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

/** Ends of the calls of `stuck`. */
const stuck: (() => void)[] = [];

@Controller()
class Handlers {
  @MessagePattern('stuck')
  async stuck(): Promise<void> {
    await new Promise<void>((resolve) => stuck.push(resolve));
  }

  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    clock.advance(1.23456);
    return body;
  }

  @MessagePattern('parse')
  parse(): void {
    throw new ParseError('secret of the body');
  }

  @MessagePattern('boom')
  boom(): void {
    throw new Error('secret of the server');
  }

  @UseGuards(Nobody)
  @MessagePattern('guarded')
  guarded(): void {}

  @MessagePattern('count')
  *count(@Payload() n: number): Generator<number> {
    for (let i = 0; i < n; i++) yield i;
  }

  @ChannelPattern('chat')
  async chat(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const line of channel) await channel.write(line);
  }

  @MessagePattern('ids')
  ids(@Ctx() { connectionId, correlationId }: RapContext): object {
    return { connectionId, correlationId };
  }

  @EventPattern('told')
  told(@Payload() _body: unknown): void {}
}

async function served(
  options: AccessLogOptions = {},
  asProcessor = false,
  more: RapServerOptions = {},
): Promise<Awaited<ReturnType<typeof scope.serve>> & { entries: AccessLogEntry[] }> {
  const entries: AccessLogEntry[] = [];
  const accessLog = new AccessLogMiddleware({ log: (entry) => entries.push(entry), clock, ...options });
  const processors = asProcessor ? [accessLog.channels] : [];
  const app = await scope.serve([Handlers], { middleware: [accessLog], processors, ...more });
  return { ...app, entries };
}

it('logs target, peer, status, duration and bytes of each call, and nothing of its body', async () => {
  const { client, entries } = await served();
  const rap = client();
  await rap.call('echo', 'secret of the body', { header: { token: 'secret of the header' } });
  await rap.call('echo', 'x'.repeat(1000));
  expect(entries).toEqual([
    {
      target: '/default/echo',
      kind: 'call',
      connectionId: expect.stringMatching(/^[\w-]+$/) as string,
      correlationId: expect.any(Number) as number,
      peer: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string,
      status: 200,
      durationMs: 1.235,
      bytes: expect.any(Number) as number,
    },
    expect.objectContaining({ status: 200 }),
  ]);
  expect((entries[1]?.bytes ?? 0) > 1000 && (entries[0]?.bytes ?? 0) > 18).toBe(true);
  expect(JSON.stringify(entries)).not.toContain('secret');
});

it.each([
  ['parse', 1002],
  ['guarded', 401],
  ['boom', 500],
])('logs the status of %s, and the caller gets its error all the same', async (name, status) => {
  const { client, entries } = await served();
  await expect(client().call(name, 1)).rejects.toMatchObject({ status });
  expect(entries).toMatchObject([{ target: `/default/${name}`, status }]);
  expect(JSON.stringify(entries)).not.toContain('secret');
});

it('logs events', async () => {
  const { client, entries } = await served();
  client().emit('told', 1).subscribe();
  await eventually('the event is logged', () => entries.length === 1);
  expect(entries).toMatchObject([{ target: '/default/told', kind: 'event', status: 200 }]);
});

it('logs a call that has run out of time, or that nobody waits for, once and when that happens', async () => {
  const { client, entries } = await served({}, false, { runTimeoutMs: 60 });
  const rap = client();
  await expect(rap.call('stuck')).rejects.toMatchObject({ status: 301 });
  await eventually('the timeout is logged', () => entries.length === 1);
  const controller = new AbortController();
  const cancelled = rap.call('stuck', 1, { signal: controller.signal, timeoutMs: 5000 }).catch(() => {});
  await eventually('it runs', () => stuck.length === 2);
  controller.abort();
  await cancelled;
  await eventually('the cancellation is logged', () => entries.length === 2);
  expect(entries).toMatchObject([
    { target: '/default/stuck', status: 301 },
    { target: '/default/stuck', status: 1006 },
  ]);
  for (const end of stuck.splice(0)) end();
  await rap.call('echo', 1); // behind the handlers' ends
  expect(entries).toHaveLength(3);
});

it('logs a stream that its caller leaves as a success, and one whose caller is lost as a failure', async () => {
  const { client, entries } = await served();
  await firstValueFrom(client().send('count', 1e9));
  await eventually('the stream is logged', () => entries.length === 1);
  const other = client({ reconnect: false });
  const lost = lastValueFrom(other.send('count', 1e9).pipe(tap((i) => i === 1000 && other.close())));
  await expect(lost).rejects.toMatchObject({ code: 'ERR_RAP_CONNECTION_LOST' });
  await eventually('the other one is logged', () => entries.length === 2);
  expect(entries).toMatchObject([
    { target: '/default/count', status: 200 },
    { target: '/default/count', status: 1006 },
  ]);
});

it('samples, and keeps all errors unless they are sampled, too', async () => {
  let dice = 0.5;
  const { client, entries } = await served({ sample: 0.5, random: () => dice });
  const rap = client();
  await rap.call('echo', 1);
  expect(entries).toHaveLength(0);
  dice = 0.49;
  await rap.call('echo', 1);
  expect(entries).toHaveLength(1);
  dice = 0.999;
  await rap.call('parse', 1).catch(() => {});
  expect(entries).toHaveLength(2);

  const silent = await served({ sample: 0, sampleErrors: 0, random: () => 0 });
  const other = silent.client();
  await other.call('echo', 1);
  await other.call('parse', 1).catch(() => {});
  expect(silent.entries).toEqual([]);
});

it('as a processor logs channels and streams once, when they end', async () => {
  const { client, entries } = await served({}, true);
  const rap = client();
  const chat = await rap.channel<string, string>('chat');
  for (let i = 0; i < 3; i++) {
    await chat.write('x'.repeat(100));
    await chat.read();
  }
  expect(entries).toEqual([]);
  chat.close();
  await eventually('the channel is logged', () => entries.length === 1);
  expect(entries).toMatchObject([{ target: '/default/chat', kind: 'channel', status: 200 }]);
  expect(entries[0]?.bytes).toBeGreaterThan(300);
  for await (const _ of rap.stream('count', 3));
  await eventually('the stream is logged', () => entries.length === 2);
  expect(entries[1]).toMatchObject({ target: '/default/count', kind: 'channel', status: 200 });
  // and calls once, though it is loaded twice
  await rap.call('echo', 1);
  expect(entries).toHaveLength(3);
});

it('cannot be made to forge lines or to log without end', async () => {
  const { client, entries } = await served({}, true);
  const rap = client();
  const target = `/default/a\n\u001b[31mforged ${'x'.repeat(200)}`;
  await (await rap.channel(target)).closed.catch(() => {});
  await eventually('it is logged', () => entries.length === 1);
  expect(entries).toMatchObject([{ target, status: 404 }]);
  // as the default log writes it
  const line = JSON.stringify(entries[0]);
  expect([line.includes('\n'), line.includes('\u001b')]).toEqual([false, false]);
});

it("gives Nest's logger the entry itself with the format object, under the ids that the handler sees", async () => {
  const logged: unknown[] = [];
  const record = (level: string) => (entry: unknown) => void logged.push([level, entry]);
  const accessLog = new AccessLogMiddleware({ clock, format: 'object' });
  const { client } = await scope.serve([Handlers], { middleware: [accessLog] });
  Logger.overrideLogger({ log: record('log'), warn: record('warn'), error: record('error') });
  const ids = await client().call<object>('ids');
  await client()
    .call('parse', 1)
    .catch(() => {});
  expect(logged).toMatchObject([
    ['log', { target: '/default/ids', status: 200, ...ids }],
    ['warn', { target: '/default/parse', status: 1002 }],
  ]);
});

it("writes one line of JSON to Nest's logger, a warning if the call failed", async () => {
  const accessLog = new AccessLogMiddleware({ clock });
  const { client, log } = await scope.serve([Handlers], { middleware: [accessLog] });
  await client()
    .call('parse', 1)
    .catch(() => {});
  const prefix = 'warn AccessLogMiddleware: ';
  const line = log.lines.find((it) => it.startsWith(prefix)) ?? '';
  expect(JSON.parse(line.slice(prefix.length))).toMatchObject({ target: '/default/parse', status: 1002 });
});

it('a log that throws harms no call', async () => {
  const { client } = await served({
    log: () => {
      throw new Error('disk full');
    },
  });
  expect(await client().call('echo', 1)).toBe(1);
});

it.each([
  [{ sample: 1.5 }, 'sample must be a number from 0 to 1, got 1.5'],
  [{ sampleErrors: -0.1 }, 'sampleErrors must be a number from 0 to 1, got -0.1'],
  [{ format: 'text' as never }, "format must be 'json' or 'object', got 'text'"],
])('refuses %j', (options, message) => {
  expect(() => new AccessLogMiddleware(options)).toThrow(new RangeError(message));
});
