import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type RapChannel, type RapContext, type RapHandlers, RapServer, RapService } from 'nestjs-rap';
import { MathService } from './contract.js';

@RapService(MathService)
class MathController implements RapHandlers<typeof MathService> {
  sum({ a, b }: { a: number; b: number }): number {
    return a + b;
  }

  async *count({ n }: { n: number }): AsyncGenerator<number> {
    for (let i = 0; i < n; i++) yield i;
  }

  async total(numbers: AsyncIterable<number>): Promise<{ items: number; total: number }> {
    const result = { items: 0, total: 0 };
    for await (const number of numbers) {
      result.items += 1;
      result.total += number;
    }
    return result;
  }

  async chat(channel: RapChannel<string, string>, ctx: RapContext): Promise<void> {
    for await (const line of channel) await channel.write(`${ctx.name}: ${line.toUpperCase()}`);
  }

  secret(): string {
    return 'only for callers on this machine';
  }
}

@Module({ controllers: [MathController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
