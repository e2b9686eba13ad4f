import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { RapServer } from 'nestjs-rap';
import { CheckToken, Upside } from './token.js';

@Controller()
class GreetingController {
  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return `hello ${name}`;
  }

  @MessagePattern('letters')
  async *letters(@Payload() word: string): AsyncGenerator<string> {
    for (let i = 1; i <= word.length; i++) yield word.slice(0, i);
  }
}

@Module({ controllers: [GreetingController] })
class AppModule {}

// requests pass these in order, responses in reverse: Upside is next to the wire on both sides
const processors = [new Upside(), new CheckToken()];
const server = new RapServer({ port: Number(process.argv[2] ?? 9000), processors });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
