import type { PipesContextCreator } from '@nestjs/core/pipes/pipes-context-creator.js';
import { parameterTypes, patternMetadata } from '../handlers/method-metadata.js';
import { ServiceMethod } from '../contract/service-binding.js';

type Create = PipesContextCreator['create'];

/** What was found when Nest bound a handler, until `RapServer` is given that. */
const problems = new WeakMap<ServiceMethod, string>();

/** What Nest binds once, at the start, has this id in place of that of a request. */
const STATIC_CONTEXT_ID = 1;

/**
 * Notices methods of `@RapService` whose parameter a `ValidationPipe` passes on unchecked. The pipe goes by the types that
 * TypeScript keeps of a method, and it keeps them only if the method or one of its parameters has a decorator. Which pipes
 * a handler has, global ones included, Nest says nowhere: so the step in which it collects them is wrapped, once.
 * Nothing changes for other handlers.
 */
export function noticeUncheckedParameters(prototype: PipesContextCreator): void {
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = prototype.create;
  prototype.create = function (this: PipesContextCreator, ...args: Parameters<Create>): ReturnType<Create> {
    const pipes = original.apply(this, args);
    const [instance, method, , contextId] = args;
    const service = patternMetadata(method)?.extras.service;
    if (service instanceof ServiceMethod) {
      const problem = problemOf(service, instance, pipes);
      // a controller that is made for each call is bound with the call: that fails
      if (problem && contextId && contextId.id !== STATIC_CONTEXT_ID) throw new Error(problem);
      if (problem) problems.set(service, problem);
    }
    return pipes;
  };
}

/** What is wrong with the handler that Nest has just bound. */
export function takeUncheckedParameter(service: ServiceMethod): string | undefined {
  const problem = problems.get(service);
  problems.delete(service);
  return problem;
}

function problemOf(service: ServiceMethod, instance: object, pipes: readonly unknown[]): string | undefined {
  const { binding, name, method, takesData } = service;
  if (!takesData || method.input || parameterTypes(instance, name)) return undefined;
  if (!pipes.some(goesByType)) return undefined;
  return (
    `${binding.name}: ValidationPipe cannot check the parameter of "${name}": its type is not known at run time. ` +
    'Put @Payload() before the parameter (and compile with emitDecoratorMetadata), ' +
    'or give the method of the contract an input schema'
  );
}

/** Nest's `ValidationPipe`, of whatever copy of Nest and under whatever name, that is not told the type itself. */
function goesByType(pipe: unknown): boolean {
  const { toValidate, expectedType } = pipe as { toValidate?: unknown; expectedType?: unknown };
  return typeof toValidate === 'function' && !expectedType;
}
