// Shared by server and client: in a monorepo, a separate package.
import { clientStream, defineService, duplex, serverStream, unary } from 'nestjs-rap';
import { z } from 'zod';

const Sum = z.object({ a: z.number(), b: z.number() });

export const MathService = defineService('math', {
  sum: unary({ input: Sum, output: z.number(), doc: 'Adds two numbers', aliases: ['add'] }),
  count: serverStream<{ n: number }, number>(),
  total: clientStream<number, { items: number; total: number }>({ input: z.number().positive() }),
  chat: duplex<string, string>(),
  secret: unary<void, string>({ private: true }),
});
