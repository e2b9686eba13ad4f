import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, ParseError, RapClient, RapModule, type RapRegistryEntry } from 'nestjs-rap';
import { MathService } from './contract.js';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Calculator {
  constructor(@InjectRapClient('MATH') private readonly client: RapClient) {}

  async show(): Promise<void> {
    const math = this.client.service(MathService); // typed by the contract
    console.log(`sum:    ${await math.sum({ a: 1, b: 2 })}`);
    for await (const i of math.count({ n: 3 })) console.log(`count:  ${i}`);
    console.log('total: ', await math.total([1, 2, 3]));
    const chat = await math.chat();
    await chat.write('hello');
    console.log(`chat:   ${await chat.read()}`);
    chat.close();
    console.log(`secret: ${await math.secret()}`);
    await this.showErrors();
  }

  /** The server refuses what the compiler would refuse. */
  async showErrors(): Promise<void> {
    const math = this.client.service(MathService);
    const wrong = { a: 1, b: 'two' } as unknown as { a: number; b: number };
    for (const call of [math.sum(wrong), math.total([1, -2])]) {
      const error: unknown = await call.catch((reason: unknown) => reason);
      if (error instanceof ParseError) console.log(`${error.name}:`, error.details);
    }
    const entries = await this.client.call<RapRegistryEntry[]>('/registry/list');
    const own = entries.filter(({ group }) => group === 'math');
    for (const { group, func_name, kind } of own) console.log(`listed: /${group}/${func_name} (${kind})`);
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
