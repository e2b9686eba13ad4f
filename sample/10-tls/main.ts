// Server and client in one process, with certificates that are made here.
import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { RapClient, type RapClientOptions, RapContext, RapServer } from 'nestjs-rap';
import { Authority } from '../certificates.js';

const authority = new Authority();
const ca = authority.cert;
const issue = (commonName: string) => authority.issue({ commonName, names: ['localhost'] });

@Controller()
class WhoController {
  /** With `requestCert` and `ca`, only clients with a certificate of that authority reach the handler. */
  @MessagePattern('whoami')
  whoAmI(@Ctx() { peer }: RapContext): string {
    return `${String(peer.tls?.subject?.['CN'])}, over ${String(peer.tls?.protocol)}`;
  }
}

@Module({ controllers: [WhoController] })
class AppModule {}

const server = new RapServer({
  host: 'localhost',
  port: 0,
  tls: { ...issue('first'), ca, requestCert: true },
});
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
await app.listen();
const { port } = server.address() as AddressInfo;

const clients: RapClient[] = [];
function client(tls: RapClientOptions['tls']): RapClient {
  const one = new RapClient({ host: 'localhost', port, tls, reconnect: false });
  clients.push(one);
  return one;
}
const failure = (one: RapClient): Promise<string> =>
  one.call('whoami').then(String, (error: Error) => error.message.replace(/localhost:\d+/g, 'the server'));
const serverName = (one: RapClient): string =>
  one.unwrap<{ getPeerCertificate(): { subject: { CN: string } } }>().getPeerCertificate().subject.CN;

const alice = client({ ca, ...issue('alice') });
console.log(`mutual TLS:        ${await alice.call<string>('whoami')}`);

// each of these is refused by default
console.log(`unknown authority: ${await failure(client(true))}`);
console.log(`wrong name:        ${await failure(client({ ca, ...issue('bob'), servername: 'elsewhere' }))}`);
console.log(`no certificate:    ${(await failure(client({ ca }))).split(': ')[0]}`);
console.log(`no TLS:            ${await failure(client(undefined))}`);

// a new certificate without a restart: open connections keep the old one, new ones get it
server.setSecureContext(issue('second'));
const carol = client({ ca, ...issue('carol') });
console.log(`reloaded:          ${await carol.call<string>('whoami')}`);
console.log(`alice talks to ${serverName(alice)}, carol to ${serverName(carol)}`);

for (const one of clients) one.close();
await app.close();
