import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, RapChannel, type RapClient } from 'nestjs-rap';
import { countUp } from '../count.js';
import type { PeerClient, StreamParams } from '../peer.js';
import { addTo, type Tally } from '../tally.js';
import { produceText } from '../texts.js';

@Controller()
export class RapStreamController {
  @MessagePattern('count')
  count({ n }: StreamParams): AsyncGenerator<number> {
    return countUp(n);
  }

  @MessagePattern('texts')
  async *texts({ n }: StreamParams): AsyncGenerator<string> {
    for (let i = 0; i < n; i++) yield produceText(i);
  }

  @ChannelPattern('sink')
  async sink(@Payload() channel: RapChannel<number, Tally>): Promise<void> {
    const tally: Tally = { count: 0, sum: 0 };
    for await (const value of channel) addTo(tally, value);
    await channel.write(tally);
  }

  @ChannelPattern('mirror')
  async mirror(@Payload() channel: RapChannel): Promise<void> {
    for await (const message of channel) await channel.write(message);
  }
}

/** Written as a user of the package would: every write is awaited. */
export function rapStreams(client: RapClient): PeerClient {
  return {
    async consume(name, params, take) {
      for await (const item of client.stream(name, params)) {
        if (!take(item)) break;
      }
    },

    open(name, params) {
      const items = client.stream(name, params)[Symbol.asyncIterator]();
      return {
        async read() {
          const { value } = await items.next();
          return value;
        },
        async cancel() {
          await items.return?.();
        },
      };
    },

    async produce(name, next) {
      const channel = await client.channel<Tally, number>(name);
      for (let value = next(); value !== undefined; value = next()) await channel.write(value);
      await channel.end();
      return channel.read();
    },

    async exchange(name, first, answer) {
      const channel = await client.channel<unknown, number>(name);
      for (const value of first) await channel.write(value);
      let underWay = first.length;
      for await (const echo of channel) {
        const value = answer(echo);
        if (value !== undefined) await channel.write(value);
        else if (--underWay === 0) break;
      }
      channel.close();
    },
  };
}
