import 'reflect-metadata';
import { jest } from '@jest/globals';
import { Controller } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import * as rap from '../../../lib/index.js';
import { warnOfCopies } from '../../../lib/nest/copies/package-copies.js';
import { rejection, testScope } from '../../helpers/async.js';

const scope = testScope();

/** The package once more, as a linked package of a monorepo brings it. */
async function otherCopy(): Promise<typeof rap> {
  jest.resetModules();
  return await import('../../../lib/index.js');
}

/** An `RpcException` of another copy of Nest. */
class OtherRpcException extends Error {
  constructor(private readonly error: string | object) {
    super(typeof error === 'string' ? error : (error as { message: string }).message);
  }
  getError(): string | object {
    return this.error;
  }
}

let thrown: unknown;
@Controller()
class ThrowController {
  @MessagePattern('throw') throw(): never {
    throw thrown;
  }
}

it('errors of other copies arrive as they are, and not as an internal error', async () => {
  const { client } = await scope.serve([ThrowController]); // Nest loads parts of itself when it starts
  const other = await otherCopy();
  const call = (error: unknown): Promise<unknown> => {
    thrown = error;
    return rejection(client().call('throw'));
  };

  const parse = await call(new other.ParseError('no number', { details: { a: 1 } }));
  expect(parse).toBeInstanceOf(rap.ParseError);
  expect(parse).toMatchObject({ message: 'no number', details: { a: 1 } });
  expect(await call(new OtherRpcException({ status: 404, message: 'no user 7' }))).toMatchObject({
    status: 404,
    message: 'no user 7',
  });
  expect(await call(new OtherRpcException('a text'))).toMatchObject({ wireStatus: 301, message: 'a text' });
  expect(await call(new OtherRpcException(new other.AuthError('no')))).toBeInstanceOf(rap.AuthError);
});

it('errors of another copy are instances of the same classes, and of no others', async () => {
  const other = await otherCopy();
  expect(other.ParseError).not.toBe(rap.ParseError);
  const error: unknown = new other.ParseError('x');

  expect(error instanceof rap.ParseError).toBe(true);
  expect(error instanceof rap.RapError).toBe(true);
  expect(error instanceof rap.AuthError).toBe(false);
  expect(new other.RapError('x') instanceof rap.ParseError).toBe(false);
  for (const value of [undefined, null, 'x', {}, new Error('x'), Object.create(null) as object])
    expect(value instanceof rap.RapError).toBe(false);

  class OwnError extends rap.ParseError {}
  expect(new OwnError('x') instanceof OwnError).toBe(true);
  expect(new OwnError('x') instanceof other.ParseError).toBe(true);
  expect(error instanceof OwnError).toBe(false);
});

it('more than one copy is warned of once', async () => {
  await otherCopy();
  const warnings: string[] = [];
  for (let i = 0; i < 2; i++) warnOfCopies((message) => warnings.push(message));
  expect(warnings).toEqual([expect.stringMatching(/^nestjs-rap is loaded \d+ times in this process/)]);
});
