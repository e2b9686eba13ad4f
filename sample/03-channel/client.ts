import 'reflect-metadata';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);

@Injectable()
class Talker {
  constructor(@InjectRapClient('TALK') private readonly talk: RapClient) {}

  async show(): Promise<void> {
    await this.writeAndRead();
    await this.echoBodies();
    await this.echoWithHeaders();
    await this.upload();
  }

  async writeAndRead(): Promise<void> {
    const channel = await this.talk.channel<string, string>('async_channel');
    let count = 0;
    while (await channel.loop(++count <= 3)) {
      await channel.write(`hello ${count}`);
      console.log(`async_channel: ${await channel.read()}`);
    }
    channel.close();
  }

  async echoBodies(): Promise<void> {
    const channel = await this.talk.channel<string, string>('echo_body', { metadata: { room: 'lobby' } });
    await channel.write('hi!');
    let count = 0;
    for await (const body of channel) {
      console.log(`echo_body:     ${body}`);
      if (++count === 3) break; // leaves the loop, not the channel
      await channel.write(`ping ${count}`);
    }
    channel.close();
  }

  async echoWithHeaders(): Promise<void> {
    const channel = await this.talk.channel<string, string>('echo_response');
    for (const [number, word] of ['one', 'two'].entries()) await channel.write(word, { 'x-number': number });
    await channel.end(); // half-close: the server's loop ends, and with it the channel
    for await (const { header, body } of channel.messages()) {
      console.log(`echo_response: ${body}, answer to message ${String(header['x-answer-to'])}`);
    }
  }

  async upload(): Promise<void> {
    const channel = await this.talk.channel<number, number>('total');
    for (let n = 1; n <= 100; n++) await channel.write(n); // waits if the server has no room
    await channel.end();
    console.log(`total:         ${await channel.read()}`);
    await channel.closed;
  }
}

@Module({
  imports: [RapModule.register([{ name: 'TALK', host: 'localhost', port }])],
  providers: [Talker],
})
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
await app.get(Talker).show();
await app.close();
