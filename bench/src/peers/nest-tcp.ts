import type { Server } from 'node:net';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientProxyFactory, type MicroserviceOptions, Transport } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { HOST, type Peer, portOf } from '../peer.js';
import { moduleOf, ObjectPatternController, StringPatternController } from './nest-module.js';
import { batchedTcpStreams, TcpStreamController, tcpStreams } from './nest-tcp-streams.js';

function tcpPeer(
  controllers: Type[],
  patternOf: (name: string) => string | { cmd: string },
  streams = tcpStreams,
): Peer {
  return {
    async startServer() {
      const app = await NestFactory.createMicroservice<MicroserviceOptions>(moduleOf(...controllers), {
        transport: Transport.TCP,
        options: { host: HOST, port: 0 },
        logger: ['error'],
      });
      await app.listen();
      return portOf(app.unwrap<Server>().address());
    },

    async connect(port) {
      const client = ClientProxyFactory.create({ transport: Transport.TCP, options: { host: HOST, port } });
      await client.connect();
      return {
        unary: (name, body) => firstValueFrom(client.send<unknown>(patternOf(name), body)),
        ...streams(client),
      };
    },
  };
}

export const nestTcp = tcpPeer([StringPatternController, TcpStreamController], (name) => name);
export const nestTcpObject = tcpPeer([ObjectPatternController], (name) => ({ cmd: name }));
export const nestTcpBatched = tcpPeer([TcpStreamController], (name) => name, batchedTcpStreams);
