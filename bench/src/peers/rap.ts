import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { RapClient, RapServer } from 'nestjs-rap';
import { firstValueFrom } from 'rxjs';
import { HOST, type Peer, type PeerClient, portOf } from '../peer.js';
import { moduleOf, StringPatternController } from './nest-module.js';

/** The widest scenario keeps 1000 calls in flight: the default limit must not be what is measured. */
const limits = { maxInFlight: 2048 };

function rapPeer(operations: (client: RapClient) => PeerClient): Peer {
  return {
    async startServer() {
      const server = new RapServer({ host: HOST, port: 0, limits });
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(
        moduleOf(StringPatternController),
        {
          strategy: server,
          logger: ['error'],
        },
      );
      await app.listen();
      return portOf(server.address());
    },

    async connect(port) {
      const client = new RapClient({ host: HOST, port, limits });
      await client.connect();
      return operations(client);
    },
  };
}

export const rapCall = rapPeer((client) => ({ unary: (name, body) => client.call(name, body) }));
export const rapSend = rapPeer((client) => ({
  unary: (name, body) => firstValueFrom(client.send(name, body)),
}));
