import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CryptoProcessor, InjectRapClient, RapClient, RapModule } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);
const servers = [{ host: 'localhost', port }];
const key = process.env['RAP_KEY'] ?? '';

@Injectable()
class Caller {
  constructor(@InjectRapClient('SECRET') private readonly secret: RapClient) {}

  async show(): Promise<void> {
    console.log(`sum({ a: 1, b: 2 }) -> ${await this.secret.call<number>('sum', { a: 1, b: 2 })}`);
    const items: number[] = [];
    for await (const i of this.secret.stream<number>('count', { n: 5 })) items.push(i);
    console.log(`count({ n: 5 })     -> ${items.join(', ')}`);
  }
}

@Module({
  imports: [
    RapModule.register([
      { name: 'SECRET', servers, processors: [new CryptoProcessor({ keyId: 'demo_id', key })] },
    ]),
  ],
  providers: [Caller],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Caller).show();
await app.close();

/** What becomes of a client that should not be there. */
async function tryWith(what: string, processors: CryptoProcessor[]): Promise<void> {
  const client = new RapClient({ servers, processors, reconnect: false });
  const outcome = await client
    .call('sum', { a: 1, b: 2 })
    .catch((error: Error) => `${error.name}: ${error.message}`);
  console.log(`${what} -> ${String(outcome)}`);
  client.close();
}

await tryWith('no key             ', []);
const wrong = CryptoProcessor.generateKey();
await tryWith('wrong key          ', [new CryptoProcessor({ keyId: 'demo_id', key: wrong })]);
await tryWith('unknown key id     ', [new CryptoProcessor({ keyId: 'nobody', key })]);
