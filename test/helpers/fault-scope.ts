/**
 * A server, clients of it, raw connections and scripted servers, for specs of faults. What these functions start ends
 * with the test, which fails if a server has something left.
 */
import 'reflect-metadata';
import { once } from 'node:events';
import net from 'node:net';
import { jest } from '@jest/globals';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, type RapContext, type RapServerOptions } from '../../lib/index.js';
import type { TestApp } from './app.js';
import { eventually, testScope } from './async.js';
import { BackgroundCalls } from './background-calls.js';
import { answerDeclare, DECLARE, pack, type RawFrame, RawSocket, scriptedServer } from './raw-socket.js';

/** Nothing here takes long; on a machine that does other things as well, it may. */
jest.setTimeout(30_000);

/** What the handlers of {@link Handlers} have seen; fresh for each test. */
export const seen = {
  /** Calls of `hold` whose handler has begun, and has ended. */
  started: 0,
  ended: 0,
  /** Calls of `mib` and `produce`. */
  produced: 0,
  /** Signals of the calls of `hold`, in their order. */
  signals: [] as AbortSignal[],
};

let opening: (() => void)[] = [];

/** Lets all calls of `hold` that wait now end. */
export function release(): void {
  for (const open of opening.splice(0)) open();
}

@Controller()
export class Handlers {
  @MessagePattern('echo')
  echo(@Payload() body: unknown): unknown {
    return body;
  }

  /** Runs until {@link release}, whatever its caller does. */
  @MessagePattern('hold')
  async hold(@Payload() body: unknown, @Ctx() ctx: RapContext): Promise<unknown> {
    seen.started += 1;
    seen.signals.push(ctx.signal);
    await new Promise<void>((resolve) => opening.push(resolve));
    seen.ended += 1;
    return body;
  }

  /** This many bytes. */
  @MessagePattern('produce')
  produce(@Payload() bytes: number): Buffer {
    seen.produced += 1;
    return Buffer.alloc(bytes, seen.produced);
  }
}

beforeEach(() => {
  opening = [];
  Object.assign(seen, { started: 0, ended: 0, produced: 0, signals: [] });
});
afterEach(release);

const scope = testScope();

/** Stops the clock of the product until the test ends. */
export const stopTime = scope.stopTime.bind(scope);

/** Has something else ended with the test. */
export const atCleanUp = scope.defer.bind(scope);

/** Waits longer than `eventually`: a flood takes its time. */
export function until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
  return eventually(what, condition, timeoutMs);
}

/** The server that this test has started last, and the client that calls it all the time. */
export let app: TestApp;
export let background: BackgroundCalls;

/** A server of {@link Handlers}. */
export async function startApp(
  options?: RapServerOptions,
  controllers: Type[] = [Handlers],
): Promise<TestApp> {
  app = await scope.serve(controllers, options);
  return app;
}

/** A server, and a client that calls it all the time. */
export async function start(options: RapServerOptions, controllers?: Type[]): Promise<void> {
  await startApp(options, controllers);
  background = await startBackgroundCalls(app);
}

/** A client that calls a server all the time, and must get all its answers. */
export async function startBackgroundCalls(server: TestApp): Promise<BackgroundCalls> {
  const calls = await BackgroundCalls.of(server);
  scope.defer(() => calls.stop());
  return calls;
}

/** A client of a server on this machine. */
export function startClient(port: number, options?: RapClientOptions): RapClient {
  const client = new RapClient({ host: '127.0.0.1', port, ...options });
  scope.defer(() => client.close());
  return client;
}

/** A server that plays literal frames. */
export async function startScript(
  script: (peer: RawSocket) => void | Promise<void>,
): ReturnType<typeof scriptedServer> {
  const server = await scriptedServer(script);
  scope.defer(() => server.close());
  return server;
}

/** A raw connection that has not said anything. */
export async function connectRaw(server: TestApp, localAddress = '127.0.0.1'): Promise<RawSocket> {
  const socket = net.connect({ port: server.port, host: '127.0.0.1', localAddress });
  const raw = new RawSocket(socket);
  scope.defer(() => raw.destroy());
  await once(socket, 'connect');
  return raw;
}

/** A raw connection that has said DECLARE. */
export async function openRaw(server: TestApp, declare = DECLARE): Promise<RawSocket> {
  const raw = await connectRaw(server);
  raw.send(declare);
  await raw.next((frame) => frame[0] === 103 && frame[1] === declare[1]);
  return raw;
}

/** A call as a Python client writes it. */
export function call(id: number, target: string, body: unknown): RawFrame {
  return [101, id, { target: `/default/${target}` }, body];
}

/** A raw connection that works: it is answered. */
export async function expectAnswers(raw: RawSocket, id = 999_001): Promise<void> {
  raw.send(call(id, 'echo', 'still here'));
  expect(await raw.answer(id)).toEqual([101, id, {}, 'still here']);
}

/** The bytes of a call of `echo` whose body is given as bytes; the id is below 128. */
export function echoOf(body: string | Buffer, id = 5, header: unknown = { target: '/default/echo' }): Buffer {
  return Buffer.concat([Buffer.from([0x94, 101, id]), pack(header), hex(body)]);
}

/** Bytes as hex (white space is ignored), or a buffer. */
export function hex(bytes: string | Buffer): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes.replace(/\s/g, ''), 'hex') : bytes;
}

/** A server of literal bytes: its first connection plays `first` with each call, later ones answer what was asked. */
export function brokenOnce(
  first: (peer: RawSocket, frame: RawFrame) => void,
): ReturnType<typeof scriptedServer> {
  let connections = 0;
  return startScript(async (peer) => {
    const isFirst = ++connections === 1;
    await answerDeclare(peer);
    for (;;) {
      const frame = await peer.next(undefined, 60_000);
      if (frame[2]['target'] === '/_event/ping') peer.send([frame[0], frame[1], {}, frame[3]]);
      else if (frame[0] === 101 && isFirst) first(peer, frame);
      else if (frame[0] === 101) peer.send([101, frame[1], {}, frame[3]]);
    }
  });
}
