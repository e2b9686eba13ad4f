import 'reflect-metadata';
import { Controller, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type AsyncMicroserviceOptions, MessagePattern, Payload } from '@nestjs/microservices';
import {
  ConnectionMiddleware,
  MessageMiddleware,
  type RapConnection,
  type RapRequest,
  RapServer,
} from 'nestjs-rap';

/** Runs around a connection, before anything is read from it: accepts two connections at a time. */
@Injectable()
class TwoGuests extends ConnectionMiddleware {
  #guests = 0;

  async use(connection: RapConnection, next: () => Promise<void>): Promise<void> {
    if (this.#guests === 2) return connection.close('two guests are here already');
    this.#guests += 1;
    await next(); // resolves when the connection is closed
    this.#guests -= 1;
    if (this.#guests === 0) console.log('server: all guests are gone');
  }

  override onServerStart(): void {
    console.log('server: TwoGuests starts');
  }

  override onServerStop(): void {
    console.log('server: TwoGuests stops');
  }
}

/** Runs around a unary call: caches answers. A middleware may be any provider of Nest. */
@Injectable()
class Cache extends MessageMiddleware {
  readonly #answers = new Map<string, unknown>();

  async use({ target, body }: RapRequest, next: () => Promise<unknown>): Promise<unknown> {
    const key = `${target} ${JSON.stringify(body)}`;
    if (this.#answers.has(key)) return this.#answers.get(key);
    const answer = await next(); // guards, pipes, the handler, filters
    this.#answers.set(key, answer);
    return answer;
  }
}

@Controller()
class SumController {
  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    console.log(`server: sum(${a}, ${b}) runs`);
    return a + b;
  }
}

@Module({ controllers: [SumController], providers: [TwoGuests, Cache] })
class AppModule {}

let server: RapServer | undefined;
const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule, {
  logger: ['warn', 'error'],
  inject: [TwoGuests, Cache],
  useFactory: (guests: TwoGuests, cache: Cache) => {
    server = new RapServer({
      port: Number(process.argv[2] ?? 9000),
      middleware: [guests, cache],
      events: {
        beforeStart: () => console.log('server: start event'),
        afterStop: [() => console.log('server: stop event')], // one or several
      },
    });
    return { strategy: server };
  },
});
app.enableShutdownHooks();
await app.listen();
process.send?.(server?.address());
