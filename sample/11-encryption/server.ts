import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { type CryptoMode, CryptoProcessor, RapServer } from 'nestjs-rap';

@Controller()
class SecretController {
  @MessagePattern('sum')
  sum(@Payload() { a, b }: { a: number; b: number }): number {
    return a + b;
  }

  @MessagePattern('count')
  *count(@Payload() { n }: { n: number }): Generator<number> {
    for (let i = 0; i < n; i++) yield i;
  }
}

@Module({ controllers: [SecretController] })
class AppModule {}

const crypto = new CryptoProcessor({
  keys: { demo_id: process.env['RAP_KEY'] ?? '' },
  mode: (process.env['RAP_MODE'] ?? 'aead') as CryptoMode, // `aead` is the default
  // these two are for `rap-cbc`: `aead` needs no clock
  timeoutMs: 60_000,
  nonceTimeoutMs: 120_000,
});
const server = new RapServer({ port: Number(process.argv[2] ?? 9000), processors: [crypto] });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
process.once('SIGTERM', () => {
  const { secured, refused, failed } = crypto.stats();
  console.log(`server: ${secured} connection secured, ${refused} refused, ${failed} frames failed`);
});
