// The server under attack: a Nest application with the built package, in a process of its own.
// Options of RapServer come as JSON in the first argument; `crypto` has the mode and the key that every client needs.
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { ChannelPattern, CryptoProcessor, RapServer } from 'nestjs-rap';

const { crypto, ...options } = JSON.parse(process.argv[2] ?? '{}');

/** How often each handler began. */
const runs = {};

class AttackedController {
  echo(body) {
    return body;
  }

  /** Waits until nobody waits for it any more. */
  wait(_body, ctx) {
    count('wait');
    return new Promise((resolve) => ctx.signal.addEventListener('abort', resolve, { once: true }));
  }

  mib() {
    count('mib');
    return Buffer.alloc(1024 * 1024, 1);
  }

  async *feed(_body, ctx) {
    count('feed');
    const ended = new Promise((resolve) => ctx.signal.addEventListener('abort', resolve, { once: true }));
    yield 0;
    await ended;
  }

  unary() {
    count('unary');
    return 'done';
  }

  async chat(channel) {
    count('chat');
    await channel.closed;
  }

  publicEvent() {
    count('publicEvent');
  }

  privateEvent() {
    count('privateEvent');
  }
}

function count(name) {
  runs[name] = (runs[name] ?? 0) + 1;
}

/** What `@decorator name(@Payload() a, @Ctx() b)` does, in JavaScript. */
function handle(name, decorator, ...parameters) {
  const { prototype } = AttackedController;
  parameters.forEach((parameter, i) => parameter()(prototype, name, i));
  decorator(prototype, name, Object.getOwnPropertyDescriptor(prototype, name));
}

handle('echo', MessagePattern('echo'), Payload);
handle('wait', MessagePattern('wait', { timeoutMs: 60_000 }), Payload, Ctx);
handle('mib', MessagePattern('mib'));
handle('feed', MessagePattern('feed'), Payload, Ctx);
handle('unary', MessagePattern('unary'));
handle('chat', ChannelPattern('chat'), Payload);
handle('publicEvent', EventPattern('both'));
handle('privateEvent', EventPattern('both', { private: true }));
Controller()(AttackedController);
class AttackedModule {}
Module({ controllers: [AttackedController] })(AttackedModule);

const server = new RapServer({
  host: '127.0.0.1',
  port: 0,
  ...options,
  ...(crypto && { processors: [new CryptoProcessor({ mode: crypto.mode, keys: { one: crypto.key } })] }),
});
// what a stranger makes a server log is counted, not printed
let lines = 0;
const log = () => void (lines += 1);
const logger = { log() {}, error: log, warn: log, debug() {}, verbose() {}, fatal: log };
const app = await NestFactory.createMicroservice(AttackedModule, { strategy: server, logger });
await app.listen();

// callers from 127.0.0.9 are strangers: no machine can be called from an address that it does not have
server.unwrap().prependListener('connection', (socket) => {
  if (socket.remoteAddress === '127.0.0.9')
    Object.defineProperty(socket, 'remoteAddress', { get: () => '192.0.2.7' });
});

// the longest time that the event loop stood still
let last = performance.now();
let longestPauseMs = 0;
let peakRss = 0;
setInterval(() => {
  const now = performance.now();
  longestPauseMs = Math.max(longestPauseMs, now - last - 5);
  last = now;
  peakRss = Math.max(peakRss, process.memoryUsage.rss());
}, 5).unref();

process.on('message', ({ id, ask }) => {
  if (ask === 'reset') longestPauseMs = 0;
  const { rss, arrayBuffers, heapUsed } = process.memoryUsage();
  process.send({
    id,
    value: {
      runs,
      lines,
      longestPauseMs: Math.round(longestPauseMs),
      rssMiB: Math.round(rss / 2 ** 20),
      arrayBuffersMiB: Math.round(arrayBuffers / 2 ** 20),
      heapMiB: Math.round(heapUsed / 2 ** 20),
      peakMiB: Math.round(Math.max(peakRss, rss) / 2 ** 20),
      stats: server.stats(),
    },
  });
});
process.on('disconnect', () => process.exit());
process.send({ id: 0, value: server.address().port });
