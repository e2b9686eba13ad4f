import 'reflect-metadata';
import { BadRequestException, Controller, ValidationPipe } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsArray, IsInt, IsString, ValidateNested } from 'class-validator';
import { Type } from 'class-transformer';
import { z } from 'zod';
import { ChannelPattern, ParseError, RapChannel } from '../../lib/index.js';
import { EventPattern } from '../helpers/event-pattern.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { details } from './validation-details.js';

const scope = testScope();

describe('schemas in the extras of a plain handler', () => {
  const calls: unknown[] = [];
  @Controller()
  class PlainController {
    @MessagePattern('sum', { input: z.array(z.number()), output: z.number().max(9) })
    sum(@Payload() numbers: number[]): number {
      calls.push(numbers);
      return numbers.reduce((a, b) => a + b, 0);
    }
    @ChannelPattern('echo', { input: z.string() })
    async echo(@Payload() channel: RapChannel<string, string>): Promise<void> {
      for await (const line of channel) await channel.write(line);
    }
    @EventPattern('done', { input: z.number() }) done(@Payload() value: number): void {
      calls.push(value);
    }
  }
  beforeEach(() => {
    calls.length = 0;
  });

  it('hold for calls, channels and events', async () => {
    const { client, log } = await scope.serve([PlainController]);
    const rap = client();

    expect(await rap.call('sum', [1, 2])).toBe(3);
    expect(await rejection(rap.call('sum', [1, 'x']))).toMatchObject({
      status: 1002,
      details: [{ path: '[1]' }],
    });
    expect(await rejection(rap.call('sum', [5, 5]))).toMatchObject({ status: 500 });
    const echo = await rap.channel<string>('echo');
    await echo.write('a');
    expect(await echo.read()).toBe('a');
    await echo.write(1);
    expect(await rejection(echo.read())).toBeInstanceOf(ParseError);
    rap.emit('done', 'no number');
    rap.emit('done', 7);
    await eventually('the event', () => calls.includes(7));
    await eventually('the log', () =>
      log.lines.some((line) => line.includes('expected number, received string')),
    );
    expect(calls).not.toContain('no number');
  });
});

describe("Nest's own validation gives the same details", () => {
  class ItemDto {
    @IsString() name!: string;
  }
  class OrderDto {
    @IsInt() id!: number;
    @IsArray() @ValidateNested({ each: true }) @Type(() => ItemDto) items!: ItemDto[];
    @IsString({ each: true }) tags!: string[];
    @IsString({ message: 'say it in words' }) note!: string;
  }
  @Controller()
  class OrderController {
    @MessagePattern('place') place(@Payload() order: OrderDto): number {
      return order.id;
    }
  }
  const body = { id: 'x', items: [{ name: 'ok' }, { name: 5 }], tags: [1], note: 2, extra: 1 };

  it('ValidationPipe', async () => {
    const { client } = await scope.serve([OrderController], {
      prepare: (app) =>
        app.useGlobalPipes(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true })),
    });

    const error = await rejection(client().call('place', body));

    expect(error).toBeInstanceOf(ParseError);
    expect(details(error)).toEqual(
      expect.arrayContaining([
        { path: 'id', message: 'id must be an integer number' },
        { path: 'items[1].name', message: 'items.1.name must be a string' },
        { path: 'tags', message: 'each value in tags must be a string' },
        { path: '', message: 'say it in words' },
        { path: 'extra', message: 'property extra should not exist' },
      ]),
    );
    expect(details(error).length).toBe(5);
  });

  it.each([
    ['BadRequestException', (errors: unknown[]) => new BadRequestException(errors)],
    ['RpcException', (errors: unknown[]) => new RpcException(errors)],
  ])("an exceptionFactory that hands on class-validator's errors, in %s", async (_, exceptionFactory) => {
    const { client } = await scope.serve([OrderController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ exceptionFactory })),
    });

    const error = await rejection(client().call('place', body));

    expect(error).toBeInstanceOf(ParseError);
    expect(error.message).toContain('id must be an integer number');
    expect(details(error)).toEqual(
      expect.arrayContaining([
        { path: 'id', message: 'id must be an integer number' },
        { path: 'items[1].name', message: 'name must be a string' },
        { path: 'note', message: 'say it in words' },
      ]),
    );
  });

  it('with more than a header holds: the first of them', async () => {
    const { client } = await scope.serve([OrderController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe()),
    });
    const items = Array.from({ length: 500 }, () => ({ name: 5 }));

    const error = await rejection(client().call('place', { id: 1, items, tags: [], note: '' }));

    expect(error).toBeInstanceOf(ParseError);
    expect(details(error)[0]).toEqual({ path: 'items[0].name', message: 'items.0.name must be a string' });
    expect(details(error).length).toBeLessThanOrEqual(32);
  });
});
