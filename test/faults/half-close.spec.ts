import 'reflect-metadata';
import net from 'node:net';
import { once } from 'node:events';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import { RapClient, type RapContext } from '../../lib/index.js';
import { eventually, testScope, within } from '../helpers/async.js';
import { call } from '../helpers/channel/channel-frames.js';
import { DECLARE, RawSocket, scriptedServer } from '../helpers/raw-socket.js';
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

it('events that a client has sent arrive though it closes, and the server answers some before it has read all', async () => {
  let server: RawSocket | undefined;
  const scripted = await scriptedServer(async (peer) => {
    await peer.answer(3);
    peer.send([103, 3, {}, { extensions: { one_way: {}, event_answer: {} } }]);
    server = peer;
  });
  scope.defer(() => scripted.close());
  const client = new RapClient({ host: '127.0.0.1', port: scripted.port, reconnect: false });
  await client.connect();
  server?.socket.pause();
  const sent = Array.from({ length: 30 }, (_, i) =>
    lastValueFrom(client.emit('happened', Buffer.alloc(20_000, i))),
  );
  await new Promise((resolve) => setTimeout(resolve, 50)); // the kernel has taken them
  await client.close();
  await within('events are complete', Promise.all(sent));
  await new Promise((resolve) => setTimeout(resolve, 500));
  server?.send([101, 5, {}, null]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  server?.socket.resume();
  await within('the client to be gone', server?.waitClosed() ?? Promise.resolve());
  expect(server?.frames.filter(([type]) => type === 101)).toHaveLength(30);
});
