import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type CryptoMode, CryptoProcessor, InjectRapClient, RapClient, RapModule } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);
const servers = [{ host: 'localhost', port }];
const key = process.env['RAP_KEY'] ?? '';
const mode = (process.env['RAP_MODE'] ?? 'aead') as CryptoMode; // `aead` is the default

/** timeoutMs and intervalMs are for `rap-cbc`: how old a message may be, and how often old nonces are removed. */
const cryptoOf = (keyId: string, secret: string): CryptoProcessor =>
  new CryptoProcessor({ keyId, key: secret, mode, timeoutMs: 60_000, intervalMs: 120_000 });

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
  imports: [RapModule.register([{ name: 'SECRET', servers, processors: [cryptoOf('demo_id', key)] }])],
  providers: [Caller],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Caller).show();
await app.close();

/** Shows how a client without a valid key fails. */
async function tryWith(what: string, processors: CryptoProcessor[]): Promise<void> {
  const client = new RapClient({ servers, processors, reconnect: false });
  const outcome = await client
    .call('sum', { a: 1, b: 2 })
    .catch((error: Error) => `${error.name}: ${error.message}`);
  console.log(`${what} -> ${String(outcome)}`);
  client.close();
}

await tryWith('no key             ', []);
const wrong = mode === 'aead' ? CryptoProcessor.generateKey() : 'yyyyyyyyyyyyyyyy';
await tryWith('wrong key          ', [cryptoOf('demo_id', wrong)]);
await tryWith('unknown key id     ', [cryptoOf('nobody', key)]);
