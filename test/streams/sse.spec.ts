import 'reflect-metadata';
import { get } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type INestApplication,
  type MessageEvent,
  Controller,
  Get,
  Module,
  Res,
  Sse,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern } from '@nestjs/microservices';
import { from, map, type Observable } from 'rxjs';
import { defineService, type RapClient, type RapContext, RapService, serverStream } from '../../lib/index.js';
import { RecordingLogger } from '../helpers/app.js';
import { eventually, testScope } from '../helpers/async.js';
import { aborted, idle, Probe } from '../helpers/streams.js';

const scope = testScope();
let probe = new Probe();
beforeEach(() => {
  probe = new Probe();
});

const Feeds = defineService('feeds', { quotes: serverStream<void, string>() });

/** One item, and then no more. */
async function* feed(ctx: RapContext): AsyncGenerator<string> {
  probe.begin(ctx);
  try {
    yield 'first';
    await aborted(ctx.signal);
  } finally {
    probe.ended += 1;
  }
}

@Controller()
class FeedController {
  @MessagePattern('feed') feed(@Ctx() ctx: RapContext): AsyncIterable<string> {
    return feed(ctx);
  }
}

@RapService(Feeds)
class FeedsController {
  quotes(_: void, ctx: RapContext): AsyncIterable<string> {
    return feed(ctx);
  }
}

const event = map((data: string): MessageEvent => ({ data }));

/** Serves controllers over HTTP. Returns the port. */
async function gateway(controller: Type): Promise<number> {
  class GatewayModule {}
  Module({ controllers: [controller] })(GatewayModule);
  const app: INestApplication = await NestFactory.create(GatewayModule, { logger: new RecordingLogger() });
  await app.listen(0, '127.0.0.1');
  scope.defer(() => app.close());
  return (app.getHttpServer().address() as AddressInfo).port;
}

/** A browser that leaves as soon as it has seen something. */
function visit(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = get({ port, host: '127.0.0.1', path, agent: false }, (response) => {
      let seen = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        seen += chunk;
        if (seen.includes('first')) request.destroy();
      });
      response.on('close', resolve).on('error', () => {});
    });
    request.on('error', (error) => {
      if (!request.destroyed) reject(error);
    });
  });
}

/** Ways in which a gateway hands a stream on. */
function routes(client: RapClient): Type {
  @Controller()
  class Gateway {
    @Sse('from') from(): Observable<MessageEvent> {
      return from(client.stream<string>('feed')).pipe(event);
    }
    @Sse('observable') observable(): Observable<MessageEvent> {
      return client.stream<string>('feed').toObservable().pipe(event);
    }
    @Sse('contract') contract(): Observable<MessageEvent> {
      return from(client.service(Feeds).quotes()).pipe(event);
    }
    @Sse('controller') controller(): Observable<MessageEvent> {
      return from(client.controller(FeedsController).quotes()).pipe(event);
    }
    @Sse('send') send(): Observable<MessageEvent> {
      return client.send<string>('feed', null).pipe(event);
    }
    @Get('readable') readable(
      @Res() response: NodeJS.WritableStream & { on: NodeJS.EventEmitter['on'] },
    ): void {
      const readable = client.stream<string>('feed').toReadable();
      readable.pipe(response);
      response.on('close', () => readable.destroy());
    }
  }
  return Gateway;
}

describe.each(['from', 'observable', 'contract', 'controller', 'send', 'readable'])('/%s', (path) => {
  it('ends the stream at once when a browser leaves: 200 of them, one after the other', async () => {
    const test = await scope.serve([FeedController, FeedsController]);
    const client = test.client();
    const port = await gateway(routes(client));
    for (let i = 1; i <= 200; i++) {
      await visit(port, `/${path}`);
      await eventually(`visit ${i} has ended`, () => probe.ended === i);
    }
    await idle(test);
    expect(probe).toMatchObject({ started: 200, ended: 200, aborted: 200 });
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0, channels: 0 });
  });
});
