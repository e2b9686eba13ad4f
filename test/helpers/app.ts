import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Module, type INestMicroservice, type LoggerService, type Provider, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { faultLog, peerLog } from '../../lib/nest/lifecycle/bounded-log.js';
import { RapClient, RapServer, type RapClientOptions, type RapServerOptions } from '../../lib/index.js';

/** A served application, its log, and clients of it. */
export interface TestApp {
  readonly app: INestMicroservice;
  readonly server: RapServer;
  readonly port: number;
  readonly log: RecordingLogger;
  /** A client of this application, closed with it. */
  client(options?: RapClientOptions): RapClient;
  /** Closes clients and server and fails if a connection or a call is left. */
  close(): Promise<void>;
}

/** Serves controllers over rap on a free port of 127.0.0.1. */
export async function serve(
  controllers: Type[],
  options: RapServerOptions & { providers?: Provider[]; prepare?: (app: INestMicroservice) => void } = {},
): Promise<TestApp> {
  const { providers = [], prepare, ...serverOptions } = options;
  peerLog.reset();
  faultLog.reset();
  class TestModule {}
  Module({ controllers, providers })(TestModule);
  // the machine of a test may be busy, and its server shares the event loop with the clients: no call is refused for that
  const limits = { maxLoopDelayMs: 0, ...serverOptions.limits };
  const server = new RapServer({ host: '127.0.0.1', port: 0, closeTimeoutMs: 500, ...serverOptions, limits });
  const log = new RecordingLogger();
  const app = await NestFactory.createMicroservice(TestModule, { strategy: server, logger: log });
  prepare?.(app);
  await app.listen();
  const address = server.address();
  const port = typeof address === 'object' ? (address as AddressInfo).port : 0;
  const clients: RapClient[] = [];
  return {
    app,
    server,
    port,
    log,
    client(clientOptions) {
      const client = new RapClient({ host: '127.0.0.1', port, ...clientOptions });
      clients.push(client);
      return client;
    },
    async close() {
      for (const client of clients) client.close();
      await app.close();
      const left = [server.stats().connections, ...clients.map((client) => client.stats().inFlight)];
      if (left.some((count) => count !== 0))
        throw new Error(`connections and calls left: ${left.join(', ')}`);
    },
  };
}

/** Keeps what is logged, as `level context: message`. */
export class RecordingLogger implements LoggerService {
  readonly lines: string[] = [];

  log(): void {}
  debug(): void {}
  verbose(): void {}

  warn(message: unknown, ...rest: unknown[]): void {
    this.#add('warn', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.#add('error', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.#add('fatal', message, rest);
  }

  #add(level: string, message: unknown, rest: unknown[]): void {
    this.lines.push(
      `${level} ${String(rest.at(-1))}: ${message instanceof Error ? message.message : String(message)}`,
    );
  }
}
