import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import { ParseError, RapContext } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

describe('a property that is undefined', () => {
  @Controller()
  class PageController {
    @MessagePattern('page') page(@Payload() { page = 1, sort }: { page?: number; sort?: string }): unknown {
      return { page, sort, keys: Object.keys({ page, ...(sort === undefined ? {} : { sort }) }) };
    }
    @MessagePattern('said') said(@Payload() data: object, @Ctx() ctx: RapContext): unknown {
      return { data: Object.keys(data), header: 'note' in ctx.header, metadata: Object.keys(ctx.metadata) };
    }
    @MessagePattern('fails') fails(): never {
      throw new ParseError('no', { details: [{ path: 'a', hint: undefined }] });
    }
  }

  it('takes the default of the handler that it is given to, and is not in the answer', async () => {
    const test = await scope.serve([PageController]);
    const answer = await test.client().call<object>('page', { page: undefined, sort: undefined });
    expect(answer).toEqual({ page: 1, keys: ['page'] });
    expect(Object.keys(answer)).toEqual(['page', 'keys']);
  });

  it('is left out of bodies, headers, metadata and details', async () => {
    const test = await scope.serve([PageController]);
    const client = test.client({ metadata: { tenant: undefined, user: 'u' } });
    expect(await client.call('said', { a: undefined, b: 1 }, { header: { note: undefined } })).toEqual({
      data: ['b'],
      header: false,
      metadata: ['user'],
    });
    const error = await rejection(client.call('fails'), ParseError);
    expect((error.details as object[]).map(Object.keys)).toEqual([['path']]);
  });
});
