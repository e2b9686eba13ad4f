import 'reflect-metadata';
import {
  BadRequestException,
  type CanActivate,
  ConflictException,
  Controller,
  ForbiddenException,
  HttpException,
  NotFoundException,
  ParseIntPipe,
  SerializeOptions,
  ServiceUnavailableException,
  StandardSchemaSerializerInterceptor,
  StandardSchemaValidationPipe,
  UnauthorizedException,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
  type ValidationError,
} from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Type } from 'class-transformer';
import { IsEmail, IsInt, IsOptional, IsString, Max, Min, ValidateNested } from 'class-validator';
import { AuthError, InvokeError, ParseError, ServerError } from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';
import { EventPattern } from '../helpers/event-pattern.js';

const scope = testScope();

class AddressDto {
  @IsString() city!: string;
}

class UserDto {
  @IsEmail() email!: string;
  @IsInt() @Min(0) @Max(150) age!: number;
  @IsOptional() @ValidateNested() @Type(() => AddressDto) address?: AddressDto;
}

const user = { email: 'ann@example.org', age: 30 };

@Controller()
class UserController {
  @MessagePattern('create') create(@Payload() data: UserDto): unknown {
    return { dto: data instanceof UserDto, nested: data.address instanceof AddressDto, data };
  }
  @MessagePattern('age') age(@Payload('age', ParseIntPipe) age: number): number {
    return age;
  }
}

const rpcExceptionOf = (errors: ValidationError[]): RpcException =>
  new RpcException({
    message: 'Validation failed',
    errors: errors.map(({ property, constraints }) => ({ property, constraints })),
  });
const parseErrorOf = (errors: ValidationError[]): ParseError =>
  new ParseError('Validation failed', { details: errors.map(({ property }) => property) });

describe('ValidationPipe with a class-validator DTO', () => {
  it('hands on a valid body, transformed and stripped as its options say', async () => {
    const { client } = await scope.serve([UserController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ transform: true, whitelist: true })),
    });

    const answer = await client().call('create', { ...user, address: { city: 'Oslo', no: 1 }, extra: 1 });

    expect(answer).toEqual({ dto: true, nested: true, data: { ...user, address: { city: 'Oslo' } } });
  });

  it('works on one parameter and on one method', async () => {
    @Controller()
    class OneController {
      @MessagePattern('parameter') parameter(
        @Payload(new ValidationPipe({ transform: true })) data: UserDto,
      ): boolean {
        return data instanceof UserDto;
      }
      @UsePipes(new ValidationPipe({ transform: true }))
      @MessagePattern('method')
      method(@Payload() data: UserDto): boolean {
        return data instanceof UserDto;
      }
      @MessagePattern('none') none(@Payload() data: UserDto): boolean {
        return data instanceof UserDto;
      }
    }
    const { client } = await scope.serve([OneController]);
    const rap = client();

    expect(await rap.call('parameter', user)).toBe(true);
    expect(await rap.call('method', user)).toBe(true);
    expect(await rap.call('none', user)).toBe(false);
  });

  it('refuses an invalid body with ParseError 1002 that says what is wrong', async () => {
    const { client } = await scope.serve([UserController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe()),
    });

    const error = await rejection(client().call('create', { email: 'nobody', age: -1 }));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ status: 1002, code: 'ERR_RAP_PARSE' });
    expect(error.message).toContain('email must be an email');
    expect(error.message).toContain('age must not be less than 0');
  });

  it('does not let the client wait for, or the process die of, an invalid event', async () => {
    const seen: unknown[] = [];
    @Controller()
    class EventController {
      @EventPattern('created') created(@Payload() data: UserDto): void {
        seen.push(data.email);
      }
    }
    const { client } = await scope.serve([EventController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe()),
    });
    const rap = client();

    rap.emit('created', { email: 'nobody' });
    rap.emit('created', user);

    await eventually('the valid event', () => seen.length > 0);
    expect(seen).toEqual([user.email]);
  });

  it('with an exceptionFactory that makes RpcExceptions, the message arrives, and the object, however deep', async () => {
    const { client } = await scope.serve([UserController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ exceptionFactory: rpcExceptionOf })),
    });

    const error = await rejection(client().call('create', { ...user, email: 'nobody' }));

    expect(error).toMatchObject({
      status: 301,
      message: 'Validation failed',
      details: {
        message: 'Validation failed',
        errors: [{ property: 'email', constraints: { isEmail: 'email must be an email' } }],
      },
    });
  });

  it('with an exceptionFactory that makes rap errors, they arrive as they are', async () => {
    const { client } = await scope.serve([UserController], {
      prepare: (app) => app.useGlobalPipes(new ValidationPipe({ exceptionFactory: parseErrorOf })),
    });

    const error = await rejection(client().call('create', { email: 'nobody', age: 'x' }));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ details: ['email', 'age'] });
  });
});

describe('ParseIntPipe', () => {
  it('transforms a property of the payload', async () => {
    const { client } = await scope.serve([UserController]);
    expect(await client().call('age', { age: '41' })).toBe(41);
  });

  it('refuses what is not a number with ParseError 1002', async () => {
    const { client } = await scope.serve([UserController]);

    const error = await rejection(client().call('age', { age: 'x' }));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({
      status: 1002,
      message: 'Validation failed (numeric string is expected)',
    });
  });
});

describe('StandardSchemaValidationPipe', () => {
  /** Refuses negative numbers and doubles the others, as any validation library could. */
  const Doubled = {
    '~standard': {
      version: 1 as const,
      vendor: 'by hand',
      validate: async (value: unknown) => {
        await Promise.resolve();
        return typeof value === 'number' && value >= 0
          ? { value: value * 2 }
          : { issues: [{ message: 'not a positive number', path: ['amount'] }] };
      },
    },
  };

  @Controller()
  class SchemaController {
    @MessagePattern('double') double(@Payload({ schema: Doubled }) amount: number): number {
      return amount;
    }
    @MessagePattern('prop') prop(@Payload('amount', { schema: Doubled }) amount: number): number {
      return amount;
    }
  }

  it('validates and transforms by the schema of the parameter', async () => {
    const { client } = await scope.serve([SchemaController], {
      prepare: (app) => app.useGlobalPipes(new StandardSchemaValidationPipe()),
    });
    const rap = client();

    expect(await rap.call('double', 4)).toBe(8);
    expect(await rap.call('prop', { amount: 5 })).toBe(10);
  });

  it('refuses with ParseError 1002 that names the issue', async () => {
    const { client } = await scope.serve([SchemaController], {
      prepare: (app) => app.useGlobalPipes(new StandardSchemaValidationPipe()),
    });

    const error = await rejection(client().call('double', -4));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ status: 1002, message: 'amount: not a positive number' });
  });
});

it('StandardSchemaSerializerInterceptor shapes the answer by @SerializeOptions', async () => {
  const NameOnly = {
    '~standard': {
      version: 1 as const,
      vendor: 'by hand',
      validate: (value: unknown) => ({ value: { name: (value as { name: string }).name } }),
    },
  };
  @UseInterceptors(StandardSchemaSerializerInterceptor)
  @Controller()
  class PublicController {
    @SerializeOptions({ schema: NameOnly })
    @MessagePattern('profile')
    profile(): unknown {
      return { name: 'ann', password: 'secret' };
    }
  }
  const { client } = await scope.serve([PublicController]);

  expect(await client().call('profile')).toEqual({ name: 'ann' });
});

describe('HTTP exceptions, which shared guards, pipes and services throw', () => {
  const cases: [string, HttpException, { class: unknown; status: number }][] = [
    ['BadRequestException', new BadRequestException('bad'), { class: ParseError, status: 1002 }],
    ['UnauthorizedException', new UnauthorizedException('who?'), { class: AuthError, status: 401 }],
    ['ForbiddenException', new ForbiddenException('not you'), { class: AuthError, status: 401 }],
  ];
  it.each(cases)(
    '%s keeps its message and gets the class that says the same',
    async (_, thrown, expected) => {
      class Throwing implements CanActivate {
        canActivate(): boolean {
          throw thrown;
        }
      }
      @Controller()
      class GuardedController {
        @UseGuards(Throwing) @MessagePattern('guarded') guarded(): void {}
      }
      const { client } = await scope.serve([GuardedController]);

      const error = await rejection(client().call('guarded'));

      expect(error).toBeInstanceOf(expected.class);
      expect(error).toMatchObject({ status: expected.status, message: thrown.message });
    },
  );

  it.each([new ServiceUnavailableException('try again later'), new ConflictException('version 3 exists')])(
    'another one keeps its name and message, as it does over HTTP: %s',
    async (exception) => {
      @Controller()
      class OtherController {
        @MessagePattern('other') other(): never {
          throw exception;
        }
      }
      const { client } = await scope.serve([OtherController]);

      const error = await rejection(client().call('other'));

      expect(error).toBeInstanceOf(InvokeError);
      expect(error).toMatchObject({ remoteName: exception.name, message: exception.message });
    },
  );

  it('in an event handler is logged, for nobody else hears of it', async () => {
    @Controller()
    class EventController {
      @EventPattern('created') created(): never {
        throw new BadRequestException('no such user');
      }
    }
    const { client, log } = await scope.serve([EventController]);

    client().emit('created', 1);

    await eventually('the log', () => log.lines.some((line) => line.includes('no such user')));
  });

  it('an error that is none of HTTP stays masked', async () => {
    @Controller()
    class BrokenController {
      @MessagePattern('broken') broken(): never {
        throw Object.assign(new Error('secret'), { status: 400, response: 'secret' });
      }
    }
    const { client } = await scope.serve([BrokenController]);

    const error = await rejection(client().call('broken'));

    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ message: 'Internal server error' });
  });

  it('NotFoundException of a handler keeps its message and is no "function not found"', async () => {
    @Controller()
    class MissingController {
      @MessagePattern('missing') missing(): never {
        throw new NotFoundException('user 1 is unknown');
      }
    }
    const { client } = await scope.serve([MissingController]);

    const error = await rejection(client().call('missing'));

    expect(error.name).not.toBe('FuncNotFoundError');
    expect(error).toMatchObject({ message: 'user 1 is unknown' });
  });
});
