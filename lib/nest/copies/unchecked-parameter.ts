import type { PipesContextCreator } from '@nestjs/core/pipes/pipes-context-creator.js';
import { parameterTypes, patternMetadata } from '../handlers/method-metadata.js';
import { ServiceMethod } from '../contract/service-binding.js';

type Create = PipesContextCreator['create'];

/** Problems that were found when Nest bound a handler, until `RapServer` takes them. */
const problems = new WeakMap<ServiceMethod, string>();

/** Context id of handlers that Nest binds once, at the start. */
const STATIC_CONTEXT_ID = 1;

/**
 * Finds methods of `@RapService` whose parameter a `ValidationPipe` does not check. The pipe uses the types that
 * TypeScript emits for a method, which it does only if the method or one of its parameters has a decorator. Nest does not
 * show which pipes a handler has, global ones included: so the step in which it collects them is wrapped.
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
      // a request-scoped controller is bound during the call: the call fails
      if (problem && contextId && contextId.id !== STATIC_CONTEXT_ID) throw new Error(problem);
      if (problem) problems.set(service, problem);
    }
    return pipes;
  };
}

/** The problem of the handler that Nest has just bound, once. */
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

/** A `ValidationPipe` of any copy of Nest, also a subclass, that has no `expectedType`. */
function goesByType(pipe: unknown): boolean {
  const { toValidate, expectedType } = pipe as { toValidate?: unknown; expectedType?: unknown };
  return typeof toValidate === 'function' && !expectedType;
}
