import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';
import { SendToken, Upside } from './token.js';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Greeter {
  constructor(
    @InjectRapClient('GREETER') private readonly greeter: RapClient,
    @InjectRapClient('STRANGER') private readonly stranger: RapClient,
  ) {}

  async show(): Promise<void> {
    console.log(`call:   ${await this.greeter.call<string>('greet', 'ann')}`);
    const letters: string[] = [];
    for await (const word of this.greeter.stream<string>('letters', 'rap')) letters.push(word);
    console.log(`stream: ${letters.join(', ')}`);
    await this.stranger
      .call('greet', 'eve')
      .catch((error: Error) => console.log(`stranger: ${error.name}: ${error.message}`));
  }
}

@Module({
  imports: [
    RapModule.register([
      { name: 'GREETER', port, processors: [new SendToken('open sesame'), new Upside()] },
      { name: 'STRANGER', port, processors: [new Upside()] },
    ]),
  ],
  providers: [Greeter],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Greeter).show();
await app.close();
