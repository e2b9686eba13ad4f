import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { AuthError, RapClient, RapContext, type RapClientOptions } from '../../../lib/index.js';
import { Gate, testScope, type ServedApp } from '../../helpers/async.js';

export const scope = testScope();

/** What handlers of `hold` wait for, in this test. */
export let finish = new Gate();

export let calls: unknown[] = [];

beforeEach(() => {
  finish = new Gate();
  calls = [];
});

@Controller()
export class ClientController {
  @MessagePattern('sum') sum(@Payload() { a, b }: { a: number; b: number }): number {
    calls.push([a, b]);
    return a + b;
  }
  @MessagePattern('hold') async hold(@Payload() data: unknown): Promise<unknown> {
    calls.push(data);
    await finish.opened;
    return data;
  }
  @MessagePattern('fail') fail(): never {
    throw new AuthError('no');
  }
  @MessagePattern('header') header(@Ctx() ctx: RapContext): unknown {
    return ctx.header;
  }
}

export const serve = (): Promise<ServedApp> => scope.serve([ClientController]);

/** A client of a class of the test, closed with it. */
export function clientOf<T extends RapClient>(
  Class: new (options: RapClientOptions) => T,
  options: RapClientOptions,
): T {
  const client = new Class(options.servers ? options : { host: '127.0.0.1', ...options });
  scope.defer(() => client.close());
  return client;
}
