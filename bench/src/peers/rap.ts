import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import {
  defineService,
  RapClient,
  type RapClientOptions,
  type RapHandlers,
  RapServer,
  type RapServerOptions,
  RapService,
  unary,
} from 'nestjs-rap';
import { firstValueFrom } from 'rxjs';
import { HOST, type Peer, type PeerClient, portOf } from '../peer.js';
import { moduleOf, StringPatternController } from './nest-module.js';
import { RapStreamController, rapStreams } from './rap-streams.js';

/** The widest scenario keeps 1000 calls in flight, which the default limit must not restrict. */
const limits = { maxInFlight: 2048 };

/** `plugins`: more options of the two sides. */
export function rapPeer(
  controller: Type,
  operations: (client: RapClient) => PeerClient,
  plugins: () => { server?: RapServerOptions; client?: RapClientOptions } = () => ({}),
): Peer {
  return {
    async startServer() {
      const server = new RapServer({ host: HOST, port: 0, limits, ...plugins().server });
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(controller), {
        strategy: server,
        logger: ['error'],
      });
      await app.listen();
      return portOf(server.address());
    },

    async connect(port) {
      const client = new RapClient({ host: HOST, port, limits, ...plugins().client });
      await client.connect();
      return operations(client);
    },
  };
}

export const rapCall = rapPeer(StringPatternController, (client) => ({
  unary: (name, body) => client.call(name, body),
}));
export const rapSend = rapPeer(StringPatternController, (client) => ({
  unary: (name, body) => firstValueFrom(client.send(name, body)),
}));
export const rap = rapPeer(RapStreamController, rapStreams);

const BenchService = defineService('bench', {
  sum: unary<{ a: number; b: number }, number>(),
  echo: unary<string, string>(),
});

@RapService(BenchService)
class ServiceController implements RapHandlers<typeof BenchService> {
  sum({ a, b }: { a: number; b: number }): number {
    return a + b;
  }

  echo(text: string): string {
    return text;
  }
}

/** The same calls, by a contract's proxy. */
export const rapService = rapPeer(ServiceController, (client) => {
  const { sum, echo } = client.service(BenchService);
  return {
    unary: (name, body) => (name === 'sum' ? sum(body as { a: number; b: number }) : echo(body as string)),
  };
});
