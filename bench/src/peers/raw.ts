import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { HOST, type Peer, portOf } from '../peer.js';
import { batchedWriter, onFrames } from './raw-framing.js';
import { CHANNEL, rawStreams, serveChannels } from './raw-streams.js';

type Handler = (body: unknown) => unknown;

interface SumParams {
  a: number;
  b: number;
}

function isSumParams(body: unknown): body is SumParams {
  return typeof body === 'object' && body !== null && 'a' in body && 'b' in body;
}

const handlers = new Map<string, Handler>([
  ['/default/sum', (body) => (isSumParams(body) ? body.a + body.b : undefined)],
  ['/default/echo', (body) => body],
]);

const MSG = 101;

/** rap's frames without a framework: the speed of the sockets and the codec alone. */
export const raw: Peer = {
  async startServer() {
    const server = createServer({ noDelay: true }, (socket) => {
      const write = batchedWriter(socket);
      const receiveOnChannel = serveChannels(socket, write);
      onFrames(socket, (frame) => {
        const [type, id, header, body] = frame;
        if (type === CHANNEL) {
          receiveOnChannel(frame);
          return;
        }
        const handler = handlers.get(header.target ?? '');
        if (!handler) throw new Error(`No handler for ${header.target}`);
        write([MSG, id, {}, handler(body)]);
      });
    });
    server.listen(0, HOST);
    await once(server, 'listening');
    return portOf(server.address());
  },

  async connect(port) {
    const socket = connect({ host: HOST, port, noDelay: true });
    await once(socket, 'connect');
    const write = batchedWriter(socket);
    const pending = new Map<number, (answer: unknown) => void>();
    // Odd and below 2^32, like the ids of a rap client.
    let lastId = 1;
    const nextId = (): number => (lastId = (lastId + 2) % 2 ** 32);
    const streams = rawStreams(socket, nextId);
    onFrames(socket, (frame) => {
      const [type, id, , body] = frame;
      if (type === CHANNEL) {
        streams.receive(frame);
        return;
      }
      pending.get(id)?.(body);
      pending.delete(id);
    });

    return {
      ...streams.operations,
      unary: (name, body) =>
        new Promise((resolve) => {
          const id = nextId();
          pending.set(id, resolve);
          write([MSG, id, { target: `/default/${name}` }, body]);
        }),
    };
  },
};
