import 'reflect-metadata';
import { jest } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

// an application that has not installed the optional package
jest.unstable_mockModule('piscina', () => {
  throw Object.assign(new Error("Cannot find package 'piscina'"), { code: 'ERR_MODULE_NOT_FOUND' });
});

it('@RunInWorker says which package it needs, to the log, and other handlers work', async () => {
  const { RunInWorker, inWorker, ServerError } = await import('../../../lib/index.js');
  @Controller()
  class WorkerController {
    @MessagePattern('fib')
    @RunInWorker(new URL('../../fixtures/heavy.mjs', import.meta.url), 'fib')
    fib(): Promise<number> {
      return inWorker();
    }
    @MessagePattern('here') here(): number {
      return 1;
    }
  }
  const { client, log } = await scope.serve([WorkerController]);
  const rap = client();

  const error = await rejection(rap.call('fib', { n: 1 }));

  expect(error).toBeInstanceOf(ServerError);
  expect(error.message).toBe('Internal server error');
  expect(log.lines).toEqual([
    'error RpcExceptionsHandler: @RunInWorker needs the package piscina: npm install piscina',
  ]);
  expect(await rap.call('here')).toBe(1);
});
