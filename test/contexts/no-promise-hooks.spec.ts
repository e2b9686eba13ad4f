import { AsyncLocalStorage } from 'node:async_hooks';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { jest } from '@jest/globals';
import type { RapServer } from '../../lib/index.js';
import { RawSocket } from '../helpers/raw-socket.js';

@Controller()
class Plain {
  @MessagePattern('sum')
  async sum([a, b]: [number, number]): Promise<number> {
    await Promise.resolve();
    return a + b;
  }
}

@Module({ controllers: [Plain] })
class PlainModule {}

/** From here on stores are in a frame of V8's own, and promises have no hooks. */
const FRAMES_SINCE = 24;
const HAS_HOOKS = Number(process.versions.node.split('.')[0]) < FRAMES_SINCE;

it('a server without clients turns no hooks of promises on: async functions stay fast', async () => {
  const { prototype } = AsyncLocalStorage;
  const entering = [jest.spyOn(prototype, 'enterWith'), jest.spyOn(prototype, 'run')];
  const entered = (): number => entering.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  let app: { close(): Promise<void> } | undefined;
  let raw: RawSocket | undefined;
  try {
    const { RapServer: Server } = await import('../../lib/index.js');
    const strategy: RapServer = new Server({ host: '127.0.0.1', port: 0 });
    const served = await NestFactory.createMicroservice(PlainModule, { strategy, logger: false });
    app = served;
    await served.listen();
    raw = await RawSocket.open((strategy.address() as { port: number }).port);
    raw.send([101, 5, { target: '/default/sum' }, [1, 2]]);
    expect(await raw.next(([type]) => type === 101)).toEqual([101, 5, {}, 3]);
    if (HAS_HOOKS) expect(entered()).toBe(0);
    // the spies see what turns them on
    new AsyncLocalStorage().run(1, () => {});
    expect(entered()).toBeGreaterThan(0);
  } finally {
    raw?.socket.destroy();
    await app?.close();
    for (const each of entering) each.mockRestore();
  }
});
