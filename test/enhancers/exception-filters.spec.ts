import 'reflect-metadata';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
} from '@nestjs/common';
import { BaseRpcExceptionFilter, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Observable, of, throwError } from 'rxjs';
import { ParseError, RapContext, ServerError } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

class DomainError extends Error {
  override name = 'DomainError';
}

const fail = (): never => {
  throw new DomainError('x');
};

const filterTo = (name: string): ExceptionFilter => {
  @Catch(DomainError)
  class To implements ExceptionFilter {
    catch(error: DomainError): Observable<never> {
      return throwError(() => ({ status: 'error', message: `${name}: ${error.message}` }));
    }
  }
  return new To();
};

describe('exception filters', () => {
  it('the filter of the method comes before that of the controller, and that before the global one', async () => {
    @UseFilters(filterTo('controller'))
    @Controller()
    class NearController {
      @UseFilters(filterTo('method')) @MessagePattern('method') method(): never {
        throw new DomainError('x');
      }
      @MessagePattern('controller') controller(): never {
        throw new DomainError('x');
      }
    }
    @Controller()
    class FarController {
      @MessagePattern('global') global(): never {
        throw new DomainError('x');
      }
    }
    const { client } = await scope.serve([NearController, FarController], {
      prepare: (app) => app.useGlobalFilters(filterTo('global')),
    });
    const rap = client();

    for (const name of ['method', 'controller', 'global']) {
      // oxlint-disable-next-line no-await-in-loop
      expect(await rejection(rap.call(name))).toMatchObject({ message: `${name}: x` });
    }
  });

  it('catches what guards, pipes, interceptors, promises and Observables fail with', async () => {
    @UseFilters(filterTo('caught'))
    @Controller()
    class FailingController {
      @UseGuards({ canActivate: fail }) @MessagePattern('guard') guard(): void {}
      @UsePipes({ transform: fail }) @MessagePattern('pipe') pipe(@Payload() data: unknown): unknown {
        return data;
      }
      @UseInterceptors({ intercept: fail }) @MessagePattern('interceptor') interceptor(): void {}
      @MessagePattern('promise') async promise(): Promise<never> {
        await Promise.resolve();
        return fail();
      }
      @MessagePattern('observable') observable(): Observable<never> {
        return throwError(() => new DomainError('x'));
      }
    }
    const { client } = await scope.serve([FailingController]);
    const rap = client();

    for (const name of ['guard', 'pipe', 'interceptor', 'promise', 'observable']) {
      // oxlint-disable-next-line no-await-in-loop
      expect([name, await rejection(rap.call(name, 1))]).toMatchObject([name, { message: 'caught: x' }]);
    }
  });

  it('gets the data and the RapContext', async () => {
    const seen: unknown[] = [];
    @Catch()
    class Looking implements ExceptionFilter {
      catch(_: unknown, host: ArgumentsHost): Observable<unknown> {
        const rpc = host.switchToRpc();
        seen.push(host.getType(), rpc.getData(), rpc.getContext<RapContext>().target);
        return of('filtered');
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Looking) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client } = await scope.serve([BrokenController]);

    expect(await client().call('broken', { a: 1 })).toBe('filtered');
    expect(seen).toEqual(['rpc', { a: 1 }, '/default/broken']);
  });

  it('may be asynchronous', async () => {
    @Catch()
    class Slow implements ExceptionFilter {
      async catch(error: Error): Promise<Observable<never>> {
        await Promise.resolve();
        return throwError(() => new ParseError(`async: ${error.message}`));
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Slow) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client } = await scope.serve([BrokenController]);

    const error = await rejection(client().call('broken'));

    expect(error).toBeInstanceOf(ParseError);
    expect(error).toMatchObject({ message: 'async: x' });
  });

  it('may hand on what RpcException.getError() gives, as the documentation of Nest shows', async () => {
    @Catch(RpcException)
    class Documented implements ExceptionFilter<RpcException> {
      catch(exception: RpcException): Observable<never> {
        return throwError(() => exception.getError());
      }
    }
    @UseFilters(Documented)
    @Controller()
    class BrokenController {
      @MessagePattern('text') text(): never {
        throw new RpcException('a text');
      }
      @MessagePattern('object') object(): never {
        throw new RpcException({ code: 7, message: 'an object' });
      }
      @MessagePattern('rap') rap(): never {
        throw new ParseError('a rap error', { details: { field: 'a' } });
      }
    }
    const { client } = await scope.serve([BrokenController]);
    const rap = client();

    expect(await rejection(rap.call('text'))).toMatchObject({ status: 301, message: 'a text' });
    expect(await rejection(rap.call('object'))).toMatchObject({
      message: 'an object',
      details: { code: 7, message: 'an object' },
    });
    expect(await rejection(rap.call('rap'))).toMatchObject({
      name: 'ParseError',
      message: 'a rap error',
      details: { field: 'a' },
    });
  });

  it('may hand on the RpcException itself, and nothing of it gets lost', async () => {
    @Catch(RpcException)
    class Rethrow implements ExceptionFilter<RpcException> {
      catch(exception: RpcException): Observable<never> {
        return throwError(() => exception);
      }
    }
    @UseFilters(Rethrow)
    @Controller()
    class BrokenController {
      @MessagePattern('object') object(): never {
        throw new RpcException({ code: 7, message: 'an object' });
      }
    }
    const { client } = await scope.serve([BrokenController]);

    expect(await rejection(client().call('object'))).toMatchObject({
      status: 301,
      remoteName: 'RpcException',
      message: 'an object',
      details: { code: 7, message: 'an object' },
    });
  });

  it('may extend BaseRpcExceptionFilter', async () => {
    @Catch()
    class AllFilter extends BaseRpcExceptionFilter {
      override catch(exception: unknown, host: ArgumentsHost): Observable<unknown> {
        return super.catch(exception, host);
      }
    }
    @UseFilters(AllFilter)
    @Controller()
    class BrokenController {
      @MessagePattern('known') known(): never {
        throw new RpcException('known');
      }
      @MessagePattern('unknown') unknown(): never {
        throw new Error('secret');
      }
    }
    const { client } = await scope.serve([BrokenController]);
    const rap = client();

    expect(await rejection(rap.call('known'))).toMatchObject({ message: 'known' });
    const error = await rejection(rap.call('unknown'));
    expect(error).toBeInstanceOf(ServerError);
    expect(error).toMatchObject({ message: 'Internal server error' });
  });

  it('a filter that fails is masked and logged: its error is for nobody outside', async () => {
    @Catch()
    class Broken implements ExceptionFilter {
      catch(): never {
        throw new TypeError('secret of the filter');
      }
    }
    @Controller()
    class BrokenController {
      @UseFilters(Broken) @MessagePattern('broken') broken(): never {
        throw new Error('x');
      }
    }
    const { client, log } = await scope.serve([BrokenController]);

    const error = await rejection(client().call('broken'));

    expect(error).toMatchObject({ status: 500, message: 'Internal server error' });
    expect(log.lines.join('\n')).toContain('secret of the filter');
  });
});
