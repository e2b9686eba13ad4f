import 'reflect-metadata';
import { once } from 'node:events';
import net from 'node:net';
import { jest } from '@jest/globals';
import { Controller, type Type } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, type RapContext, type RapServerOptions } from '../../lib/index.js';
import { serve, type TestApp } from './app.js';
import { answerDeclare, DECLARE, pack, type RawFrame, RawSocket, scriptedServer } from './raw-socket.js';
import { StoppedTime } from './stopped-time.js';

/** Nothing here takes long; on a machine that does other things as well, it may. */
jest.setTimeout(30_000);

/** What the handlers of {@link Handlers} have seen; fresh for each test that calls {@link resetHandlers}. */
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

export function resetHandlers(): void {
  opening = [];
  Object.assign(seen, { started: 0, ended: 0, produced: 0, signals: [] });
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

  /** So many bytes. */
  @MessagePattern('produce')
  produce(@Payload() bytes: number): Buffer {
    seen.produced += 1;
    return Buffer.alloc(bytes, seen.produced);
  }
}

/** Waits until `condition` holds, and fails with `what` where it does not in time. */
export async function until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Lets so much time pass. Only for "nothing happens": where something is awaited, {@link until} is right. */
export function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A well-behaved client that keeps calling while others misbehave, and must notice nothing of it. */
export class Bystander {
  calls = 0;
  readonly failures: unknown[] = [];
  #stopped = false;
  readonly #lanes: Promise<void>[];

  private constructor(private readonly client: RapClient) {
    this.#lanes = [this.#run(0), this.#run(1)];
  }

  /** Connects and starts calling. */
  static async of(app: TestApp): Promise<Bystander> {
    const client = app.client();
    await client.connect();
    const bystander = new Bystander(client);
    await bystander.goesOn();
    return bystander;
  }

  /** Waits for some more right answers. */
  async goesOn(calls = 4): Promise<void> {
    const goal = this.calls + calls;
    await until(() => this.calls >= goal || this.failures.length > 0, 'answers to the bystander');
    this.#check();
  }

  /** Stops calling; every call must have been answered right. May be called twice. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    await this.goesOn();
    this.#stopped = true;
    await Promise.all(this.#lanes);
    this.#check();
    if (this.client.stats().lateAnswers > 0) throw new Error('the bystander got answers of others');
  }

  async #run(lane: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const asked = `lane ${lane}, call ${i}`;
      try {
        const answer = await this.client.call<string>('echo', asked);
        if (answer !== asked) this.failures.push(new Error(`asked "${asked}", answered ${answer}`));
        this.calls += 1;
      } catch (error) {
        this.failures.push(error);
        return;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #check(): void {
    if (this.failures.length > 0)
      throw new AggregateError(this.failures, `the bystander noticed: ${String(this.failures[0])}`);
  }
}

/** What {@link cleanUp} does, last one first. */
const cleanups: (() => unknown)[] = [];

/** Ends what the functions below have started. Goes into `afterEach`; fails where a server has something left. */
export async function cleanUp(): Promise<void> {
  time?.resume(); // what ends below may need time
  release();
  const failures: unknown[] = [];
  for (const end of cleanups.splice(0).toReversed()) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

let time: StoppedTime | undefined;

/** Stops the clock of the product until {@link cleanUp}. */
export function stopTime(): StoppedTime {
  time?.resume();
  time = new StoppedTime();
  return time;
}

/** Has something else ended by {@link cleanUp}. */
export function atCleanUp(end: () => unknown): void {
  cleanups.push(end);
}

/** A server of {@link Handlers}. */
export async function startApp(
  options?: RapServerOptions,
  controllers: Type[] = [Handlers],
): Promise<TestApp> {
  const app = await serve(controllers, options);
  cleanups.push(() => app.close());
  return app;
}

/** A client that calls `app` all the time, and must get all its answers. */
export async function startBystander(app: TestApp): Promise<Bystander> {
  const bystander = await Bystander.of(app);
  cleanups.push(() => bystander.stop());
  return bystander;
}

/** A client of a server on this machine. */
export function startClient(port: number, options?: RapClientOptions): RapClient {
  const client = new RapClient({ host: '127.0.0.1', port, ...options });
  cleanups.push(() => client.close());
  return client;
}

/** A server that plays literal frames. */
export async function startScript(
  script: (peer: RawSocket) => void | Promise<void>,
): ReturnType<typeof scriptedServer> {
  const server = await scriptedServer(script);
  cleanups.push(() => server.close());
  return server;
}

/** A raw connection that has not said anything. */
export async function connectRaw(app: TestApp, localAddress = '127.0.0.1'): Promise<RawSocket> {
  const socket = net.connect({ port: app.port, host: '127.0.0.1', localAddress });
  const raw = new RawSocket(socket);
  cleanups.push(() => raw.destroy());
  await once(socket, 'connect');
  return raw;
}

/** A raw connection that has said DECLARE. */
export async function openRaw(app: TestApp, declare = DECLARE): Promise<RawSocket> {
  const raw = await connectRaw(app);
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
