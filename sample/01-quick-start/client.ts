import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Calculator {
  constructor(@InjectRapClient('MATH') private readonly math: RapClient) {}

  async show(): Promise<void> {
    const sync = await this.math.call<number>('sync_sum', { a: 1, b: 2 });
    console.log(`sync_sum({ a: 1, b: 2 })  -> ${sync}`);
    const async = await this.math.call<number>('async_sum', { a: 1, b: 3 });
    console.log(`async_sum({ a: 1, b: 3 }) -> ${async}`);
    const error: unknown = await this.math
      .call('sinc_sum', { a: 1, b: 2 })
      .catch((reason: unknown) => reason);
    console.log(`sinc_sum({ a: 1, b: 2 })  -> ${String(error)}`);
  }
}

@Module({
  imports: [RapModule.register([{ name: 'MATH', host: 'localhost', port }])],
  providers: [Calculator],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Calculator).show();
await app.close();
