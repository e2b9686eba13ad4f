import { createRequire } from 'node:module';
import { NestApplicationContext } from '@nestjs/core';
import { InterceptorsConsumer } from '@nestjs/core/interceptors/interceptors-consumer.js';
import { PipesContextCreator } from '@nestjs/core/pipes/pipes-context-creator.js';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { ListenersController } from '@nestjs/microservices/listeners-controller.js';
import { Observable } from 'rxjs';
import { textOf } from '../../protocol/values/unknown.js';
import { drainBeforeDestroy } from './drain-at-shutdown.js';
import { rememberMaskedErrors } from './masked-errors.js';
import { showItemsToInterceptors } from './intercepted-values.js';
import { noticeUncheckedParameters } from './unchecked-parameter.js';

/** The classes of a copy of Nest in which a step is wrapped. */
interface NestClasses {
  readonly BaseRpcExceptionFilter: typeof BaseRpcExceptionFilter;
  readonly InterceptorsConsumer: typeof InterceptorsConsumer;
  readonly PipesContextCreator: typeof PipesContextCreator;
  readonly Observable: typeof Observable;
  readonly NestApplicationContext: typeof NestApplicationContext;
}

/** The file of Nest that binds handlers to a server. */
const BINDER = /@nestjs[\\/]microservices[\\/]listeners-controller\.[cm]?js$/;

let installed = false;
/** This copy of Nest is binding handlers. */
let isBinding = false;
const known = new Set<string>();
/** Prototypes in which a step is wrapped, of all copies. */
const wrapped = new WeakSet<object>();

/** Wraps steps of Nest that have no hook for what a server needs; once, when the first server is made. */
export function wrapNest(): void {
  if (installed) return;
  installed = true;
  wrap({
    BaseRpcExceptionFilter,
    InterceptorsConsumer,
    PipesContextCreator,
    Observable,
    NestApplicationContext,
  });
  const { prototype } = ListenersController;
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = prototype.registerPatternHandlers;
  prototype.registerPatternHandlers = function (
    this: ListenersController,
    ...args: Parameters<typeof original>
  ) {
    isBinding = true;
    try {
      return original.apply(this, args);
    } finally {
      isBinding = false;
    }
  };
}

/**
 * Called when a handler is added. If another copy of `@nestjs/microservices` than that of this package adds it, as in a
 * monorepo, the same steps are wrapped there: otherwise its last filter would turn every error into an internal one.
 * `warn` is called once for each copy.
 */
export function wrapCallingNest(warn: (message: string) => void): void {
  if (isBinding) return;
  const file = callers().find((name) => BINDER.test(name));
  if (file === undefined || known.has(file)) return;
  known.add(file);
  const reason = wrapCopy(file);
  const effect =
    reason && `. Errors of handlers arrive as internal errors, for it cannot be adapted: ${reason}`;
  warn(
    `the application has a copy of @nestjs/microservices of its own, beside that of nestjs-rap: ${file}${effect ?? ''}. ` +
      'See "npm ls @nestjs/microservices"; both must find the same one',
  );
}

/** @returns the reason if it fails */
function wrapCopy(file: string): string | undefined {
  try {
    const load = createRequire(file);
    wrap({
      ...(load('./exceptions/base-rpc-exception-filter.js') as NestClasses),
      ...(load('@nestjs/core/interceptors/interceptors-consumer.js') as NestClasses),
      ...(load('@nestjs/core/pipes/pipes-context-creator.js') as NestClasses),
      Observable: (load('rxjs') as NestClasses).Observable,
      NestApplicationContext: (load('@nestjs/core') as NestClasses).NestApplicationContext,
    });
    return undefined;
  } catch (error) {
    return textOf(error);
  }
}

function wrap(nest: NestClasses): void {
  once(nest.BaseRpcExceptionFilter.prototype, rememberMaskedErrors);
  once(nest.InterceptorsConsumer.prototype, (it) => showItemsToInterceptors(it, nest.Observable));
  once(nest.PipesContextCreator.prototype, noticeUncheckedParameters);
  once(nest.NestApplicationContext.prototype, drainBeforeDestroy);
}

/** Copies of `@nestjs/microservices` may share one of `@nestjs/core`. */
function once<T extends object>(prototype: T, wrapStep: (prototype: T) => void): void {
  if (wrapped.has(prototype)) return;
  wrapped.add(prototype);
  wrapStep(prototype);
}

/** The files on the stack of this call. */
function callers(): string[] {
  const { stackTraceLimit } = Error;
  // oxlint-disable-next-line typescript/unbound-method -- put back as it was
  const { prepareStackTrace } = Error;
  try {
    Error.stackTraceLimit = 20;
    Error.prepareStackTrace = (_, sites) => sites.map((site) => site.getFileName() ?? '');
    const { stack } = new Error();
    return Array.isArray(stack) ? (stack as string[]) : [];
  } finally {
    Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  }
}
