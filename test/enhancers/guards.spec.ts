import 'reflect-metadata';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Inject,
  SetMetadata,
  UseGuards,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { MessagePattern, RpcException } from '@nestjs/microservices';
import { of } from 'rxjs';
import { AuthError, RapContext } from '../../lib/index.js';
import { rejection, testScope } from '../helpers/async.js';

const scope = testScope();

describe('guards', () => {
  const refusals: [string, () => ReturnType<CanActivate['canActivate']>][] = [
    ['false', () => false],
    ['a promise of false', () => Promise.resolve(false)],
    ['an Observable of false', () => of(false)],
  ];
  it.each(refusals)('a guard that answers %s gives AuthError 401', async (_, refuse) => {
    let ran = false;
    class Refusing implements CanActivate {
      canActivate = refuse;
    }
    @UseGuards(Refusing)
    @Controller()
    class GuardedController {
      @MessagePattern('secret') secret(): void {
        ran = true;
      }
    }
    const { client } = await scope.serve([GuardedController]);

    const error = await rejection(client().call('secret'));

    expect(error).toBeInstanceOf(AuthError);
    expect(error).toBeInstanceOf(RpcException);
    expect(error).toMatchObject({ status: 401, code: 'ERR_RAP_AUTH', message: 'Forbidden resource' });
    expect(ran).toBe(false);
  });

  it('a guard that throws an error of its own keeps that error', async () => {
    class Throwing implements CanActivate {
      canActivate(): boolean {
        throw new AuthError('the token is over', { code: 'TOKEN_EXPIRED', details: { at: 1 } });
      }
    }
    @Controller()
    class GuardedController {
      @UseGuards(Throwing) @MessagePattern('secret') secret(): void {}
    }
    const { client } = await scope.serve([GuardedController]);

    const error = await rejection(client().call('secret'));

    expect(error).toBeInstanceOf(AuthError);
    expect(error).toMatchObject({ message: 'the token is over', code: 'TOKEN_EXPIRED', details: { at: 1 } });
  });

  it('a guard sees handler metadata, the data and the RapContext with the connection', async () => {
    class Roles implements CanActivate {
      constructor(@Inject(Reflector) private readonly reflector: Reflector) {}
      canActivate(context: ExecutionContext): boolean {
        const rpc = context.switchToRpc();
        const ctx = rpc.getContext<RapContext>();
        expect(ctx).toBeInstanceOf(RapContext);
        expect(context.getArgs()).toEqual([rpc.getData(), ctx]);
        const wanted = this.reflector.get<string>('role', context.getHandler());
        return ctx.metadata['role'] === wanted && rpc.getData<{ ok: boolean }>().ok;
      }
    }
    @Controller()
    class RolesController {
      @SetMetadata('role', 'admin') @UseGuards(Roles) @MessagePattern('admin') admin(): string {
        return 'in';
      }
    }
    const { client } = await scope.serve([RolesController]);

    expect(await client({ metadata: { role: 'admin' } }).call('admin', { ok: true })).toBe('in');
    await expect(client({ metadata: { role: 'user' } }).call('admin', { ok: true })).rejects.toThrow(
      AuthError,
    );
    await expect(client({ metadata: { role: 'admin' } }).call('admin', { ok: false })).rejects.toThrow(
      AuthError,
    );
  });

  it('the guards of application, controller and method all have a say, in this order', async () => {
    const asked: string[] = [];
    const guard = (name: string): CanActivate => ({
      canActivate: () => {
        asked.push(name);
        return name !== 'method';
      },
    });
    @UseGuards(guard('controller'))
    @Controller()
    class GuardedController {
      @MessagePattern('open') open(): string {
        return 'open';
      }
      @UseGuards(guard('method')) @MessagePattern('closed') closed(): void {}
    }
    const { client } = await scope.serve([GuardedController], {
      prepare: (app) => app.useGlobalGuards(guard('global')),
    });
    const rap = client();

    expect(await rap.call('open')).toBe('open');
    await expect(rap.call('closed')).rejects.toThrow(AuthError);
    expect(asked).toEqual(['global', 'controller', 'global', 'controller', 'method']);
  });
});
