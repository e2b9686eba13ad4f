import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  AuthError,
  ChannelPattern,
  type ProcessorContext,
  type RapChannel,
  type RapContext,
  type RapProcessor,
  type RapRequest,
  type RapResponse,
} from '../../lib/index.js';

/** What handlers see and do; a test starts with an empty one. */
export const seen: {
  events: unknown[];
  headers: unknown[];
  metadata: unknown[];
  errors: unknown[];
  runs: number;
} = {
  events: [],
  headers: [],
  metadata: [],
  errors: [],
  runs: 0,
};

export function forget(): void {
  for (const list of [seen.events, seen.headers, seen.metadata, seen.errors]) list.length = 0;
  seen.runs = 0;
}

@Controller()
export class Things {
  @MessagePattern('echo')
  echo(@Payload() body: unknown, @Ctx() context: RapContext): unknown {
    seen.runs += 1;
    seen.headers.push(context.header);
    return body;
  }

  @MessagePattern('header')
  header(@Ctx() context: RapContext): string {
    context.setHeader('from', 'handler');
    return 'done';
  }

  @MessagePattern('refuse')
  refuse(): never {
    throw new AuthError('no', { details: { why: 'because' } });
  }

  @MessagePattern('break')
  break(): never {
    throw new TypeError('a secret');
  }

  @MessagePattern('hang')
  async hang(@Ctx() { signal }: RapContext): Promise<void> {
    seen.runs += 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  }

  @MessagePattern('count')
  async *count(@Payload() n: number): AsyncIterable<number> {
    for (let i = 1; i <= n; i++) yield i;
  }

  @MessagePattern('count.fail')
  async *countFail(): AsyncIterable<number> {
    yield 1;
    throw new AuthError('enough');
  }

  @ChannelPattern('upper')
  async upper(channel: RapChannel<string, string>): Promise<void> {
    seen.metadata.push(channel.metadata);
    try {
      for await (const line of channel) await channel.write(line.toUpperCase());
    } catch (error) {
      seen.errors.push(error);
      throw error;
    }
  }

  @EventPattern('happened')
  happened(@Payload() body: unknown): void {
    seen.events.push(body);
  }
}

/** A processor that notes what it is told, under a name. */
export class Recorder implements RapProcessor {
  constructor(
    private readonly name: string,
    readonly log: string[] = [],
  ) {}

  processRequest(request: RapRequest): void {
    this.log.push(`${this.name} request ${describe(request)}`);
  }

  processResponse(response: RapResponse): void {
    const error = response.error ? ` error ${response.error.status}` : '';
    this.log.push(`${this.name} response ${describe(response)}${error}`);
  }

  onContextEnter({ kind }: ProcessorContext): void {
    this.log.push(`${this.name} enter ${kind}`);
  }

  onContextExit(_context: ProcessorContext, error?: unknown): void {
    this.log.push(`${this.name} exit${error === undefined ? '' : ` ${(error as Error).name}`}`);
  }
}

function describe({ lifeCycle, body }: RapRequest): string {
  return `${lifeCycle ?? 'call'} ${JSON.stringify(body) ?? 'nothing'}`;
}

/** The same, but every step takes a turn of the event loop. */
export class SlowRecorder extends Recorder {
  override processRequest(request: RapRequest): Promise<void> {
    return later(() => super.processRequest(request));
  }

  override processResponse(response: RapResponse): Promise<void> {
    return later(() => super.processResponse(response));
  }

  override onContextEnter(context: ProcessorContext): Promise<void> {
    return later(() => super.onContextEnter(context));
  }
}

export async function later<T>(work: () => T): Promise<Awaited<T>> {
  await new Promise((resolve) => setImmediate(resolve));
  return await work();
}

/** Nothing ever comes of it. */
export const never = (): Promise<never> => new Promise(() => {});

export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}
