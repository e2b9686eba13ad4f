import 'reflect-metadata';
import { Readable } from 'node:stream';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';
import { interval, map, take, type Observable } from 'rxjs';

interface Count {
  n: number;
}

@Controller()
class StreamController {
  /** A generator: it yields the next number when the caller has room for it, and stops when the caller cancels. */
  @MessagePattern('count')
  async *count(@Payload() { n }: Count): AsyncGenerator<number> {
    let i = 0;
    try {
      for (; i < n; i++) yield i;
    } finally {
      if (i < n) console.log(`server: count({ n: ${n} }) was told to stop`);
    }
  }

  /** An Observable: it cannot be slowed down, so the transport queues at most 16 MiB of it (`limits.maxPushedBytes`). */
  @MessagePattern('ticks')
  ticks(@Payload() { n }: Count): Observable<string> {
    return interval(5).pipe(
      map((i) => `tick ${i}`),
      take(n),
    );
  }

  /** A Node Readable, such as a file or a database cursor. */
  @MessagePattern('lines')
  lines(): Readable {
    return Readable.from(['first line', 'second line']);
  }
}

@Module({ controllers: [StreamController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
