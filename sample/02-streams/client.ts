import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';
import { lastValueFrom, toArray } from 'rxjs';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Reader {
  constructor(@InjectRapClient('NUMBERS') private readonly numbers: RapClient) {}

  async show(): Promise<void> {
    console.log('generator: ', await all(this.numbers.stream<number>('count', { n: 5 })));
    console.log('Observable:', await all(this.numbers.stream<string>('ticks', { n: 3 })));
    console.log('Readable:  ', await all(this.numbers.stream<string>('lines')));

    for await (const i of this.numbers.stream<number>('count', { n: 1_000_000 })) {
      if (i < 3) continue;
      console.log(`break at ${i}`);
      break; // cancels the stream: the generator's `finally` runs on the server
    }

    const sent = this.numbers.send<number>('count', { n: 3 }); // Nest's way: an Observable of every value
    console.log('send():    ', await lastValueFrom(sent.pipe(toArray())));

    const error: unknown = await this.numbers.call('count', { n: 3 }).catch((reason: unknown) => reason);
    console.log(`call():     ${String(error)}`);
  }
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of stream) values.push(value);
  return values;
}

@Module({
  imports: [RapModule.register([{ name: 'NUMBERS', host: 'localhost', port }])],
  providers: [Reader],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Reader).show();
await app.close();
