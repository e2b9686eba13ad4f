import { Controller, type PipeTransform } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, ParseError, RapChannel, RapContext } from '../../../lib/index.js';

/** Python's exception of that name: it travels by its class name. */
class ValueError extends Error {
  override name = 'ValueError';
}

/** Python's check of a function's parameters, in its words. */
class PythonParameters implements PipeTransform<Record<string, unknown>> {
  readonly #names: readonly string[];

  constructor(...names: string[]) {
    this.#names = names;
  }

  transform(given: Record<string, unknown>): Record<string, unknown> {
    const missing = this.#names.find((name) => !(name in given));
    if (missing) throw new ParseError(`Parse error. missing a required argument: '${missing}'`);
    const unknown = Object.keys(given).find((name) => !this.#names.includes(name));
    if (unknown) throw new ParseError(`Parse error. got an unexpected keyword argument '${unknown}'`);
    return given;
  }
}

interface Terms {
  a: number;
  b: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** The functions of the server that the vectors were recorded with. */
@Controller()
export class PythonFunctions {
  @MessagePattern('sync_sum')
  syncSum(@Payload(new PythonParameters('a', 'b')) { a, b }: Terms): number {
    return a + b;
  }

  @MessagePattern('async_sum')
  async asyncSum(@Payload() { a, b }: Terms): Promise<number> {
    await pause(10);
    return a + b;
  }

  @MessagePattern('alias_sum', { group: 'math' })
  aliasSum(@Payload() { a, b }: Terms): number {
    return a + b;
  }

  @MessagePattern('priv_sum', { group: 'root', private: true })
  privateSum(@Payload() { a, b }: Terms): number {
    return a + b;
  }

  @MessagePattern('echo')
  echo(@Payload() { x }: { x: unknown }): unknown {
    return x;
  }

  @MessagePattern('boom')
  boom(@Payload() { a }: { a: number }): never {
    throw new ValueError(`boom ${a}`);
  }

  @MessagePattern('slow')
  slow(@Payload() { a }: { a: number }, @Ctx() { signal }: RapContext): Promise<number> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(a), a * 1000);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve(a);
      });
    });
  }

  @MessagePattern('async_gen')
  async *asyncGenerator(@Payload() { a }: { a: number }): AsyncGenerator<number> {
    for (let i = 0; i < a; i++) {
      await Promise.resolve();
      yield i;
    }
  }

  @MessagePattern('gen_boom')
  *generatorThatRaises(@Payload() { a }: { a: number }): Generator<number> {
    for (let i = 0; i < a; i++) yield i;
    throw new ValueError('gen boom');
  }

  @ChannelPattern('echo_channel')
  async echoChannel(@Payload() channel: RapChannel): Promise<void> {
    for await (const body of channel) await channel.write(body);
  }

  @ChannelPattern('three')
  async three(@Payload() channel: RapChannel<never, { i: number }>): Promise<void> {
    for (let i = 0; i < 3; i++) await channel.write({ i });
  }
}
