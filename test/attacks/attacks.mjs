// What hostile peers do, each with what must hold meanwhile. `holds` gets what the server and the victim say at the end and gives
// what does not hold; `mostMiB` are bounds of memory other than those of all. See docs/limits.md, "What attacks cost".
import tls from 'node:tls';
import { Attacker, declare, frameWith, hostileServer, pack, sleep } from './harness.mjs';
import { strangers } from './strangers.mjs';

/** Two keys that look like indices of an array, far apart: what makes V8 allocate for all that lies between them. */
const SPARSE = Buffer.from('82a431303233c0a432353734c0', 'hex');

/** An array of `n` times the same value. */
const arrayOf = (value, n) => {
  const head = Buffer.alloc(5);
  head[0] = 0xdd;
  head.writeUInt32BE(n, 1);
  return Buffer.concat([head, ...Array(n).fill(value)]);
};

const fill = (value, bytes) => arrayOf(value, Math.floor(bytes / value.length));

const MIB = 2 ** 20;
const target = (name) => ({ target: `/default/${name}` });
const channelOf = (name) => ({ ...target(name), channel_life_cycle: 'DECLARE' });

const within = (name, value, most) => (value <= most ? [] : [`${name} ${value} > ${most}`]);

/** DECLAREs with such keys until 2 MiB were sent, over connections that stay. */
async function sparseDeclares({ port }) {
  const metadata = fill(SPARSE, 15_000);
  const frame = pack(declare({ metadata: 1 }));
  // the value of the last key, `metadata`, is the last byte
  const bytes = Buffer.concat([frame.subarray(0, frame.length - 1), Buffer.from('81a161', 'hex'), metadata]);
  for (let sent = 0; sent < 2 * MIB; sent += bytes.length) await (await Attacker.connect(port)).bytes(bytes);
  await sleep(1000);
}

export const attacks = [
  {
    name: 'keys that look like array indices, in DECLARE',
    run: sparseDeclares,
    mostMiB: { server: 300 },
  },
  {
    name: 'keys that look like array indices, in DECLARE of a server that demands encryption',
    server: { crypto: 'aead' },
    run: sparseDeclares,
    mostMiB: { server: 300 },
  },
  {
    name: 'keys that look like array indices, in bodies and headers of calls',
    async run({ port, child }) {
      const attacker = await Attacker.open(port);
      await child.ask('reset');
      for (let i = 0; i < 4; i++) {
        await attacker.bytes(frameWith(101, 5 + 2 * i, target('unary'), fill(SPARSE, 600_000)));
        await sleep(300);
      }
      const header = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [String(1023 + 1551 * i), i]));
      for (let i = 0; i < 200; i++)
        await attacker.send([101, 101 + 2 * i, { ...target('unary'), ...header }, null]);
      await sleep(300);
    },
    holds: ({ server }) => within('longest pause ms', server.longestPauseMs, 3000),
  },
  {
    name: 'keys that look like array indices, in answers to a client',
    hostile: () => {
      const body = fill(SPARSE, 600_000);
      const plain = pack(1);
      return hostileServer((id) => frameWith(101, id, {}, id % 40 === 1 ? body : plain));
    },
    run: () => sleep(2000),
    mostMiB: { client: 300 },
    holds: ({ victim }) => within('longest pause ms', victim.longestPauseMs, 3000),
  },
  {
    name: 'calls with 262,000 empty maps each, to a handler that waits',
    async run({ port }) {
      const attacker = await Attacker.open(port);
      const body = arrayOf(Buffer.from([0x80]), 262_000);
      for (let i = 0; i < 256; i++) await attacker.bytes(frameWith(101, 5 + 2 * i, target('wait'), body));
      await sleep(1000);
      return attacker;
    },
    mostMiB: { server: 700 },
  },
  {
    name: 'channels with metadata of 4 MiB',
    async run({ port }) {
      const attacker = await Attacker.open(port);
      const metadata = pack({ a: 'x'.repeat(4 * MIB - 200) });
      for (let i = 0; i < 128; i++)
        await attacker.bytes(frameWith(102, 5 + 2 * i, channelOf('chat'), metadata));
      await sleep(1000);
      return attacker;
    },
    mostMiB: { server: 450 },
  },
  {
    name: 'messages after the parameters of a stream',
    async run({ port }) {
      const message = pack([102, 0xffff, { channel_life_cycle: 'MSG' }, 'x'.repeat(3 * MIB)]);
      const messageOf = (id) => {
        // the id stands behind the marks of the array, the type and the id's own form
        const bytes = Buffer.from(message);
        bytes.writeUInt16BE(id, 3);
        return bytes;
      };
      const outcome = [];
      for (let i = 0; i < 2; i++) {
        const attacker = await Attacker.open(port, { extensions: { credit: { window: 1 } } });
        for (let id = 257; id < 257 + 2 * 100; id += 2) {
          await attacker.send(
            [102, id, channelOf('feed'), null],
            [102, id, { channel_life_cycle: 'MSG' }, {}],
          );
          await attacker.bytes(messageOf(id));
        }
        outcome.push(attacker);
      }
      await sleep(1000);
      return outcome.flatMap(({ frames }) => frames);
    },
    mostMiB: { server: 450 },
    holds: ({ outcome }) =>
      outcome.some(([type, , header]) => type === 102 && header.status_code === 1008)
        ? []
        : ['no message was answered with 1008'],
  },
  {
    name: 'small requests for answers of 1 MiB that nobody reads',
    async run({ port }) {
      for (let i = 0; i < 8; i++) {
        const attacker = await Attacker.open(port, { reads: false });
        await attacker.send(...Array.from({ length: 250 }, (_, n) => [101, 5 + 2 * n, target('mib'), null]));
      }
      await sleep(2000);
    },
    mostMiB: { server: 900 },
  },
  {
    name: 'channels opened to a function that is none, from one address',
    async run({ port }) {
      const open = await Promise.all(Array.from({ length: 64 }, () => Attacker.open(port)));
      for (const attacker of open)
        await attacker.send(
          ...Array.from({ length: 128 }, (_, n) => [102, 5 + 2 * n, channelOf('unary'), null]),
        );
      await sleep(3000);
    },
  },
  {
    name: 'all the slots that the connections of one address can have',
    async run({ port }) {
      const open = await Promise.all(Array.from({ length: 100 }, () => Attacker.open(port)));
      for (const attacker of open)
        await attacker.send(...Array.from({ length: 256 }, (_, n) => [101, 5 + 2 * n, target('wait'), null]));
      await sleep(2000);
    },
    holds: ({ server }) =>
      server.runs.wait > 0 && server.runs.wait < 8192 ? [] : [`${server.runs.wait} handlers began`],
  },
  {
    name: 'a unary function opened as a channel',
    async run({ port }) {
      const attacker = await Attacker.open(port);
      await attacker.send([102, 5, { ...channelOf('unary'), accept_stream: false }, null]);
      await attacker.send([102, 5, { channel_life_cycle: 'MSG' }, {}]);
      await sleep(300);
      return attacker;
    },
    holds: ({ outcome }) =>
      outcome.frames.some(([type, , header]) => type === 102 && header.status_code === 1008)
        ? []
        : ['it was not answered with 1008'],
  },
  {
    name: 'silent sockets on a TLS port',
    tls: true,
    async run({ port }) {
      // from two addresses: neither, nor both, keep others out
      const sockets = [];
      for (let i = 0; i < 600; i++) {
        sockets.push(await Attacker.connect(port, { from: i % 2 ? '127.0.0.2' : '127.0.0.3' }));
      }
      await sleep(2000);
    },
    holds: ({ victim }) => (victim.connections > 2 ? [] : ['no new client got in']),
  },
  {
    name: 'silent sockets on a plain port',
    async run({ port }) {
      for (let i = 0; i < 1200; i++) await Attacker.connect(port, { from: `127.0.0.${2 + (i % 10)}` });
      await sleep(2000);
    },
    holds: ({ victim }) => (victim.connections > 2 ? [] : ['no new client got in']),
  },
  {
    name: 'TLS 1.2 renegotiation',
    tls: true,
    async run({ port, ca }) {
      const socket = tls.connect({
        port,
        host: '127.0.0.1',
        localAddress: '127.0.0.2',
        ca,
        maxVersion: 'TLSv1.2',
        servername: 'localhost',
      });
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      let renegotiated = 0;
      const until = performance.now() + 2000;
      while (performance.now() < until && !socket.destroyed) {
        const done = await Promise.race([
          new Promise((resolve) => {
            if (!socket.renegotiate({}, (error) => resolve(!error))) resolve(false);
          }),
          sleep(500, false),
        ]);
        if (!done) break;
        renegotiated += 1;
      }
      return { renegotiated };
    },
    holds: ({ outcome }) => within('renegotiations', outcome.renegotiated, 3),
  },
  {
    name: 'paused channels whose peers say nothing any more',
    server: {
      keepAlive: { intervalMs: 500, timeoutMs: 500 },
      limits: { maxConnections: 20, pauseTimeoutMs: 2000 },
    },
    async run({ port, child }) {
      for (let i = 0; i < 15; i++) {
        const attacker = await Attacker.open(port, { from: `127.0.0.${2 + i}`, reads: false });
        await attacker.send([102, 5, channelOf('chat'), null]);
        await attacker.send(
          ...Array.from({ length: 200 }, (_, n) => [102, 5, { channel_life_cycle: 'MSG' }, n]),
        );
      }
      await sleep(5000);
      return (await child.ask()).stats.connections;
    },
    holds: ({ outcome }) => within('connections that are left', outcome, 3),
  },
  {
    name: 'readers that stop while small answers go to them, and large ones to others',
    server: { limits: { sendBufferSoftBytes: 16 * MIB, sendBufferHardBytes: 64 * MIB } },
    async run({ port, child }) {
      const still = await Promise.all(
        Array.from({ length: 10 }, () => Attacker.open(port, { reads: false })),
      );
      const reading = await Attacker.open(port);
      // more than their kernels take
      for (const attacker of still)
        await attacker.send(...Array.from({ length: 12 }, (_, n) => [101, 5 + 2 * n, target('mib'), null]));
      await sleep(1500);
      const before = (await child.ask()).arrayBuffersMiB;
      const large = 'x'.repeat(60_000);
      for (let n = 0; n < 5000; n++) {
        await still[n % still.length].send([101, 101 + 2 * n, target('echo'), 1]);
        await reading.call(101 + 2 * n, target('echo'), large);
      }
      const { arrayBuffersMiB, stats } = await child.ask();
      return { grownMiB: arrayBuffersMiB - before, connections: stats.connections };
    },
    // each small answer lies in the memory of a large one
    holds: ({ outcome: { grownMiB, connections } }) => [
      ...within('MiB that buffers have grown by', grownMiB, 40),
      ...(connections > 10 ? [] : ['the readers were dropped']),
    ],
  },
  ...strangers,
];
