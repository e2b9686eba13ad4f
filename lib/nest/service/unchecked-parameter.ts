import { STATIC_CONTEXT } from '@nestjs/core/injector/constants.js';
import { PipesContextCreator } from '@nestjs/core/pipes/pipes-context-creator.js';
import { parameterTypes, patternMetadata } from '../method-metadata.js';
import { ServiceMethod } from './service-binding.js';

type Create = PipesContextCreator['create'];

/** What was found when Nest bound a handler, until `RapServer` is given that. */
const problems = new WeakMap<ServiceMethod, string>();

let installed = false;

/**
 * Notices methods of `@RapService` whose parameter a `ValidationPipe` passes on unchecked. The pipe goes by the types that
 * TypeScript keeps of a method, and it keeps them only if the method or one of its parameters has a decorator. Which pipes
 * a handler has, global ones included, Nest says nowhere: so the step in which it collects them is wrapped, once, when
 * the first server is made. Nothing changes for other handlers.
 */
export function noticeUncheckedParameters(): void {
  if (installed) return;
  installed = true;
  const { prototype } = PipesContextCreator;
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = prototype.create;
  prototype.create = function (this: PipesContextCreator, ...args: Parameters<Create>): ReturnType<Create> {
    const pipes = original.apply(this, args);
    const [instance, method, , contextId = STATIC_CONTEXT] = args;
    const service = patternMetadata(method)?.extras.service;
    if (service instanceof ServiceMethod) {
      const problem = problemOf(service, instance, pipes);
      // a controller that is made for each call is bound with the call: that fails
      if (contextId !== STATIC_CONTEXT && problem) throw new Error(problem);
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
