import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Redis } from 'ioredis';
import {
  ConnLimitMiddleware,
  IpFilterMiddleware,
  IpMaxConnMiddleware,
  RapServer,
  RateLimitProcessor,
} from 'nestjs-rap';
import { RedisConnStore, RedisIpListStore, RedisRateStore } from 'nestjs-rap/redis';

const { REDIS_URL } = process.env;
const redis = REDIS_URL ? new Redis(REDIS_URL) : undefined;
console.log(`server: limits are counted in ${redis ? 'Redis' : 'memory'}`);
// a separate prefix, so that runs do not affect each other
const prefix = `rap:sample:${process.pid}:`;
const places = redis && { store: new RedisConnStore(redis, { prefix: `${prefix}conn:` }) };

const filter = new IpFilterMiddleware({
  allow: ['127.0.0.0/8', '192.168.0.0/31'], // nobody else; `block` is ignored
  block: ['192.168.0.2'],
  ...(redis && { store: new RedisIpListStore(redis, { prefix: `${prefix}ip:` }) }),
});
const connections = new ConnLimitMiddleware({ maxConnections: 100, blockTimeMs: 60_000, ...places });
const perAddress = new IpMaxConnMiddleware({ maxConnections: 2, timeoutMs: 60_000, ...places });
const rates = new RateLimitProcessor({
  rules: [
    ({ name }) => (name === 'ban' ? false : undefined), // not limited
    { key: (_request, { peer }) => peer.address, rate: 1, burst: 3 },
  ],
  ...(redis && { store: new RedisRateStore(redis, { prefix: `${prefix}rate` }) }),
});

@Controller()
class LimitedController {
  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }

  @MessagePattern('ban', { private: true })
  async ban(@Payload() range: string): Promise<string> {
    await filter.block(range); // and remove it from the allow list
    const { allow, block } = filter.lists;
    return `allowed ${allow.join(', ')}; blocked ${block.join(', ')}`;
  }
}

@Module({ controllers: [LimitedController] })
class AppModule {}

const server = new RapServer({
  host: '127.0.0.1',
  port: Number(process.argv[2] ?? 9000),
  middleware: [filter, connections, perAddress],
  processors: [rates],
  events: { afterStop: () => redis?.quit() },
});
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
