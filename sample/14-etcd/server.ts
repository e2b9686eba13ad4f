import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';
import { registerInEtcd } from 'nestjs-rap/etcd';

const { ETCD_URL = 'http://127.0.0.1:2379', NAME = 'server' } = process.env;

@Controller()
class GreetingController {
  @MessagePattern('greet')
  greet(): string {
    return `hello from ${NAME}`;
  }
}

@Module({ controllers: [GreetingController] })
class AppModule {}

const server = new RapServer({ host: '127.0.0.1', port: Number(process.argv[2] ?? 9000) });
// in etcd from the moment it listens until the first moment of its drain
const registration = registerInEtcd(server, {
  endpoints: [ETCD_URL],
  service: 'greeting',
  address: { host: '127.0.0.1' }, // this sample runs on one machine
  metadata: { name: NAME },
  onError: () => {}, // this sample ends etcd first; without it, a warning of the process tells of that
});
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
await registration.registered();
process.send?.(server.address());
