import 'reflect-metadata';
import { Ctx, Payload } from '@nestjs/microservices';
import {
  clientStream,
  defineService,
  duplex,
  RapChannel,
  type RapContext,
  type RapHandlers,
  RapService,
  serverStream,
  unary,
} from '../../lib/index.js';

export interface Terms {
  a: number;
  b: number;
}

export const MathService = defineService('math', {
  sum: unary<Terms, number>({ aliases: ['add', '/other/sum'] }),
  reset: unary(),
  count: serverStream<{ n: number }, number>(),
  total: clientStream<number, { total: number }>(),
  chat: duplex<string, string>(),
});

@RapService(MathService)
export class MathController implements RapHandlers<typeof MathService> {
  resets = 0;

  sum(@Payload() { a, b }: Terms): number {
    return a + b;
  }
  reset(): void {
    this.resets += 1;
  }
  async *count(@Payload() { n }: { n: number }, @Ctx() ctx: RapContext): AsyncGenerator<number> {
    for (let i = 0; i < n && !ctx.signal.aborted; i++) yield i;
  }
  async total(@Payload() items: RapChannel<number, never>): Promise<{ total: number }> {
    let total = 0;
    for await (const item of items) total += item;
    return { total };
  }
  async chat(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext): Promise<void> {
    for await (const line of channel) await channel.write(`${String(ctx.channelMetadata)}: ${line}`);
  }
}
