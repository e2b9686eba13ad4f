import 'reflect-metadata';
import { type CanActivate, Controller, Injectable, UseGuards } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { createRapTestBed, expectNoLeaks, type RapTestBedOptions } from '../../lib/testing.js';
import { rejection } from '../helpers/async.js';

@Injectable()
class NobodyGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

class Unused {}

@Controller()
class GuardedController {
  @UseGuards(NobodyGuard)
  @MessagePattern('guarded')
  guarded(): void {}
}

@Controller()
class Twice {
  @MessagePattern('a')
  one(): void {}
  @MessagePattern('a')
  two(): void {}
}

const failsToPrepare = (): Promise<never> => Promise.reject(new Error('prepare'));

describe('a test bed that cannot start', () => {
  it.each<[string, RapTestBedOptions, string]>([
    ['has two handlers of one pattern', { controllers: [Twice] }, 'Two request handlers'],
    [
      'fails in a hook of Nest',
      {
        controllers: [
          class Failing {
            onApplicationBootstrap(): void {
              throw new Error('bootstrap');
            }
          },
        ],
      },
      'bootstrap',
    ],
    [
      'fails in afterStart',
      { server: { events: { afterStart: () => Promise.reject(new Error('after start')) } } },
      'after start',
    ],
    ['fails in prepare', { prepare: failsToPrepare }, 'prepare'],
    [
      'fails in prepare, with overrides',
      {
        overrides: [{ provide: Unused, useValue: {} }],
        prepare: failsToPrepare,
      },
      'prepare',
    ],
    [
      'cannot override an enhancer',
      {
        controllers: [GuardedController],
        overrides: [
          {
            provide: NobodyGuard,
            useFactory: () => {
              throw new Error('no guard');
            },
          },
        ],
      },
      'no guard',
    ],
    ['has wrong options of the client', { client: { pot: 1 } as never }, 'pot is not an option'],
  ])('closes the application of a bed that %s, which is no leak', async (_what, options, message) => {
    const closed: string[] = [];
    @Injectable()
    class Database {
      onModuleDestroy(): void {
        closed.push('database');
      }
    }
    const failed = await rejection(createRapTestBed({ logger: false, providers: [Database], ...options }));
    expect(failed.message).toMatch(message);
    expect(closed).toEqual(['database']);
    await expectNoLeaks();
  });

  it('rejects with why a bed cannot start, also if closing the application fails', async () => {
    @Injectable()
    class Database {
      onModuleDestroy(): void {
        throw new Error('cannot close');
      }
    }
    const base = { logger: false as const, providers: [Database] };
    expect((await rejection(createRapTestBed({ ...base, prepare: failsToPrepare }))).message).toBe('prepare');
    const events = { afterStart: (): Promise<never> => Promise.reject(new Error('after start')) };
    expect((await rejection(createRapTestBed({ ...base, server: { events } }))).message).toBe('after start');
    await expectNoLeaks();
  });
});
