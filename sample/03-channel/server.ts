import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, RapContext, RapServer } from 'nestjs-rap';

@Controller()
class ChannelController {
  /** rap's first example: reads and writes as long as the other side is connected. */
  @ChannelPattern('async_channel')
  async asyncChannel(@Payload() channel: RapChannel<string, string>): Promise<void> {
    while (await channel.loop()) {
      const body = await channel.read();
      if (body === undefined) break;
      await channel.write(`${body} world`);
    }
  }

  /** rap's second: the bodies, one after the other. The context has the metadata with which the client opened the channel. */
  @ChannelPattern('echo_body')
  async echoBody(@Payload() channel: RapChannel<string, string>, @Ctx() ctx: RapContext): Promise<void> {
    const { room } = ctx.channelMetadata as { room: string };
    for await (const body of channel) await channel.write(`[${room}] ${body}`);
  }

  /** rap's third: messages with their headers. */
  @ChannelPattern('echo_response')
  async echoResponse(@Payload() channel: RapChannel<string, string>): Promise<void> {
    for await (const { header, body } of channel.messages()) {
      await channel.write(body, { 'x-answer-to': header['x-number'] });
    }
  }

  /** An upload: reads until the client has ended its side, then answers. The channel ends with the method. */
  @ChannelPattern('total')
  async total(@Payload() channel: RapChannel<number, number>): Promise<void> {
    let total = 0;
    for await (const n of channel) total += n;
    await channel.write(total);
  }
}

@Module({ controllers: [ChannelController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
