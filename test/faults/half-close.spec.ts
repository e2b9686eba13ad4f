import 'reflect-metadata';
import net from 'node:net';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import type { RapContext } from '../../lib/index.js';
import { eventually, testScope } from '../helpers/async.js';
import { call } from '../helpers/channel-frames.js';
import { DECLARE, RawSocket } from '../helpers/raw-socket.js';
import { aborted, Probe } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
beforeEach(() => (probe = new Probe()));

@Controller()
class HalfCloseController {
  @MessagePattern('wait')
  async wait(_: unknown, @Ctx() ctx: RapContext): Promise<string> {
    probe.begin(ctx);
    await aborted(ctx.signal);
    probe.ended += 1;
    return 'nobody waits';
  }
}

it('a client that ends its half of the connection has ended it: handlers are told, and nothing is answered', async () => {
  const { port } = await scope.serve([HalfCloseController]);
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  scope.defer(() => socket.destroy());
  await once(socket, 'connect');
  const raw = new RawSocket(socket);
  raw.send(DECLARE);
  await raw.answer(3);
  raw.send(call(5, 'wait', null));
  await eventually('the handler runs', () => probe.started === 1);
  socket.end();
  await eventually('the handler is told, and ends', () => probe.ended === 1);
  await raw.waitClosed();
  expect(raw.frames.filter(([, id]) => id === 5)).toEqual([]);
});
