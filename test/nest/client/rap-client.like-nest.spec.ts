import 'reflect-metadata';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Controller, Get, type INestMicroservice, Module, Param } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  type ClientProxy,
  ClientTCP,
  MessagePattern,
  type ReadPacket,
  Transport,
  type WritePacket,
} from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom, Observable, of, take, toArray } from 'rxjs';
import { defineService, RapClient, RapServer, RapService, unary } from '../../../lib/index.js';
import { eventually, rejection, testScope } from '../../helpers/async.js';
import { EventPattern } from '../../helpers/event-pattern.js';
import { freePort } from '../../helpers/ports.js';

const scope = testScope();
const lost: unknown[] = [];
beforeEach(() => (lost.length = 0));

@Controller()
class Handlers {
  @MessagePattern('sum') sum([a, b]: [number, number]): number {
    return a + b;
  }
  @MessagePattern('fails') fails(): never {
    throw new Error('no');
  }
  @MessagePattern('three') three(): Observable<number> {
    return of(1, 2, 3);
  }
  @MessagePattern('endless') endless(): Observable<number> {
    return new Observable((observer) => {
      const timer = setInterval(() => observer.next(1), 1);
      return () => {
        clearInterval(timer);
        lost.push('endless');
      };
    });
  }
  @EventPattern('value') value(data: unknown): unknown {
    return ['value', data];
  }
  @EventPattern('several') several(): Observable<number> {
    return of(1, 2);
  }
}

/** A transport: its server, which listens on a port, and the class of its clients. */
interface TestTransport {
  readonly serve: (port: number) => Promise<INestMicroservice>;
  readonly Client: typeof RapClient;
}

const serveWith = async (options: object): Promise<INestMicroservice> => {
  class TestModule {}
  Module({ controllers: [Handlers] })(TestModule);
  const app = await NestFactory.createMicroservice(TestModule, { ...options, logger: false });
  scope.defer(() => app.close());
  await app.listen();
  return app;
};

const TCP: TestTransport = {
  serve: (port) => serveWith({ transport: Transport.TCP, options: { port, host: '127.0.0.1' } }),
  // what these tests use of both is that of ClientProxy
  Client: ClientTCP as unknown as typeof RapClient,
};
const RAP: TestTransport = {
  serve: (port) => serveWith({ strategy: new RapServer({ port, host: '127.0.0.1' }) }),
  Client: RapClient,
};

function clientOf<C extends ClientProxy>(Client: new (options: object) => C, port: number): C {
  const client = new Client({ port, host: '127.0.0.1' });
  scope.defer(() => client.close() as unknown);
  return client;
}

describe.each([
  ['tcp', TCP],
  ['rap', RAP],
])('a client of the transport %s', (name, transport) => {
  it('tells a lost server as disconnected', async () => {
    const port = await freePort();
    const app = await transport.serve(port);
    const client = clientOf(transport.Client, port);
    const seen: string[] = [];
    client.status.subscribe((status) => seen.push(status));
    await client.connect();
    expect(seen.at(-1)).toBe('connected');

    await app.close();
    await eventually('the loss', () => seen.includes('disconnected'));

    expect(seen.filter((status) => status !== 'connecting').slice(0, 2)).toEqual([
      'connected',
      'disconnected',
    ]);
    expect(seen.includes('connecting')).toBe(name === 'rap');
  });

  it('gets from an event handler that it asks what that returns', async () => {
    const port = await freePort();
    await transport.serve(port);
    const client = clientOf(transport.Client, port);

    expect(await lastValueFrom(client.send('value', 1).pipe(toArray()))).toEqual([['value', 1]]);
    expect(await lastValueFrom(client.send('several', 1).pipe(toArray()))).toEqual([1, 2]);
  });

  it('goes through connect, publish and dispatchEvent of a subclass', async () => {
    const port = await freePort();
    await transport.serve(port);
    const seen: unknown[] = [];
    class Watched extends transport.Client {
      override async connect(): Promise<void> {
        seen.push('connect');
        await super.connect();
      }
      protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
        seen.push(['publish', packet.pattern, packet.data]);
        const teardown = super.publish(packet, callback);
        return () => {
          seen.push('teardown');
          teardown();
        };
      }
      protected override async dispatchEvent<T>(packet: ReadPacket): Promise<T> {
        seen.push(['dispatchEvent', packet.pattern, packet.data]);
        return super.dispatchEvent<T>(packet);
      }
      protected override serializeError(error: unknown): unknown {
        seen.push('serializeError');
        return super.serializeError(error);
      }
      protected override serializeResponse(response: unknown): unknown {
        return { shown: super.serializeResponse(response) };
      }
    }
    const client = clientOf(Watched, port);

    expect(await firstValueFrom(client.send('sum', [1, 2]))).toEqual({ shown: 3 });
    expect(seen.splice(0)).toEqual(['connect', ['publish', 'sum', [1, 2]], 'teardown']);
    expect(await lastValueFrom(client.send('three', 1).pipe(toArray()))).toEqual(
      [1, 2, 3].map((shown) => ({ shown })),
    );
    expect(seen.splice(0)).toEqual(['connect', ['publish', 'three', 1], 'teardown']);
    expect((await rejection(firstValueFrom(client.send('fails', 1)))).message).toBe('Internal server error');
    expect(seen.splice(0)).toEqual(['connect', ['publish', 'fails', 1], 'serializeError', 'teardown']);
    await lastValueFrom(client.emit('value', 4));
    expect(seen.splice(0)).toEqual(['connect', ['dispatchEvent', 'value', 4]]);
  });

  it('goes through connect alone, if a subclass has that', async () => {
    const port = await freePort();
    await transport.serve(port);
    class Refusing extends transport.Client {
      override connect(): Promise<void> {
        return Promise.reject(new Error('not today'));
      }
    }
    const client = clientOf(Refusing, port);

    expect((await rejection(firstValueFrom(client.send('sum', [1, 2])))).message).toBe('not today');
    expect((await rejection(lastValueFrom(client.emit('value', 1)))).message).toBe('not today');
  });
});

describe('a subclass of RapClient with its own publish', () => {
  it('sends nothing as data, as send() does, and cancels a stream by the teardown', async () => {
    const port = await freePort();
    await RAP.serve(port);
    class Watched extends RapClient {
      readonly published: unknown[] = [];
      protected override publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
        this.published.push(packet.data);
        return super.publish(packet, callback);
      }
    }
    const client = clientOf(Watched, port);

    expect(await firstValueFrom(client.send('value', null))).toEqual(['value', null]);
    expect(await lastValueFrom(client.send('endless', 1).pipe(take(2), toArray()))).toEqual([1, 1]);
    await eventually('the source is left', () => lost.length === 1);
    expect(client.published).toEqual([null, 1]);
    expect(client.stats().channels).toBe(0);
  });
});

describe('a controller of a service that handles HTTP, too', () => {
  it('serves both', async () => {
    const Math = defineService('math', { double: unary<number, number>() });
    @RapService(Math)
    @Controller('math')
    class MathController {
      double(n: number): number {
        return n * 2;
      }
      @Get('double/:n') overHttp(@Param('n') n: string): number {
        return this.double(Number(n));
      }
    }
    class TestModule {}
    Module({ controllers: [MathController] })(TestModule);
    const server = new RapServer({ port: 0, host: '127.0.0.1' });
    const app = await NestFactory.create(TestModule, { logger: false });
    scope.defer(() => app.close());
    app.connectMicroservice({ strategy: server });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const { port: httpPort } = (app.getHttpServer() as Server).address() as AddressInfo;
    const client = clientOf(RapClient, (server.address() as AddressInfo).port);

    expect(await client.service(Math).double(21)).toBe(42);
    const answer = await fetch(`http://127.0.0.1:${httpPort}/math/double/21`);
    expect(await answer.text()).toBe('42');
  });
});
