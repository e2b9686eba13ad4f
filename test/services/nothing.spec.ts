import 'reflect-metadata';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import * as v from 'valibot';
import { z } from 'zod';
import {
  defineService,
  ParseError,
  type RapHandlers,
  RapService,
  ServerError,
  serverStream,
  type StandardSchema,
  unary,
} from '../../lib/index.js';
import { eventually, rejection, testScope } from '../helpers/async.js';

const scope = testScope();
const Terms = z.object({ a: z.number() });
type Terms = z.infer<typeof Terms>;

/** A schema that takes no null, and does for `undefined` what it is told. */
function takesNoNull(validate: () => unknown): StandardSchema<number | undefined, number> {
  const issues = [{ message: 'no null' }];
  return {
    '~standard': {
      version: 1,
      vendor: 'own',
      validate: (value) => (value === null ? { issues } : validate()) as { value: number },
    },
  };
}
const later = takesNoNull(() => Promise.resolve({ value: 7 }));
const broken = takesNoNull(() => {
  throw new Error('a schema that fails');
});
const laterToo: typeof later = {
  '~standard': {
    ...later['~standard'],
    validate: (value) => Promise.resolve(later['~standard'].validate(value)),
  },
};

const S = defineService('nothing', {
  optional: unary({ input: Terms.optional(), output: z.string() }),
  valibot: unary({ input: v.optional(v.object({ a: v.number() })), output: z.string() }),
  nothing: unary({ input: z.void(), output: z.string() }),
  defaults: unary({ input: Terms.default({ a: 5 }), output: z.string() }),
  nullish: unary({ input: Terms.nullish(), output: z.string() }),
  later: unary({ input: later, output: z.string() }),
  laterToo: unary({ input: laterToo, output: z.string() }),
  broken: unary({ input: broken, output: z.string() }),
  required: unary({ input: Terms, output: z.string() }),
  stream: serverStream({ input: Terms.optional(), output: z.string() }),
});

const shown = (value: unknown): string => (value === undefined ? 'undefined' : JSON.stringify(value));

@RapService(S)
class NothingController implements RapHandlers<typeof S> {
  optional(input?: Terms): string {
    return shown(input);
  }
  valibot(input?: Terms): string {
    return shown(input);
  }
  nothing(input: void): string {
    return shown(input);
  }
  defaults(input: Terms): string {
    return shown(input);
  }
  nullish(input?: Terms | null): string {
    return shown(input);
  }
  later(input: number): string {
    return shown(input);
  }
  laterToo(input: number): string {
    return shown(input);
  }
  broken(input: number): string {
    return shown(input);
  }
  required(input: Terms): string {
    return shown(input);
  }
  *stream(input?: Terms): Generator<string> {
    yield shown(input);
  }
}

describe('a call without parameters, for a schema', () => {
  it('that may have nothing, reaches the handler as nothing or as its default', async () => {
    const { client } = await scope.serve([NothingController]);
    const service = client().service(S);

    expect(await service.optional()).toBe('undefined');
    expect(await service.optional({ a: 1 })).toBe('{"a":1}');
    expect(await service.valibot()).toBe('undefined');
    expect(await service.nothing()).toBe('undefined');
    expect(await service.defaults()).toBe('{"a":5}');
    expect(await service.later()).toBe('7');
    expect(await service.laterToo()).toBe('7');
    for await (const item of service.stream()) expect(item).toBe('undefined');
  });

  it('that takes null, reaches the handler as null', async () => {
    const { client } = await scope.serve([NothingController]);
    expect(await client().service(S).nullish()).toBe('null');
  });

  it('that wants something, is refused with what it says of null', async () => {
    const { client } = await scope.serve([NothingController]);
    const error = await rejection(client().call('/nothing/required'));

    expect(error).toBeInstanceOf(ParseError);
    expect(error.message).toBe('Invalid input: expected object, received null');
  });

  it('that fails itself, is a fault of the server', async () => {
    const { client, log } = await scope.serve([NothingController]);

    expect(await rejection(client().service(S).broken())).toBeInstanceOf(ServerError);
    expect(log.lines.join()).toContain(
      'the schema of the input of /nothing/broken failed: a schema that fails',
    );
  });

  it('in the extras of a plain handler, is the same', async () => {
    const seen: string[] = [];
    @Controller()
    class PlainController {
      @MessagePattern('optional', { input: Terms.optional() }) optional(@Payload() input?: Terms): void {
        seen.push(shown(input));
      }
      @EventPattern('later', { input: laterToo }) later(@Payload() input: number): void {
        seen.push(shown(input));
      }
    }
    const { client } = await scope.serve([PlainController]);
    const rap = client();

    await rap.call('optional');
    rap.emit('later', undefined);

    await eventually('the event', () => seen.length === 2);
    expect(seen).toEqual(['undefined', '7']);
  });
});
