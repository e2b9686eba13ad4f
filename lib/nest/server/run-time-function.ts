import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { BaseRpcExceptionFilter, type MessageHandler } from '@nestjs/microservices';
import { catchError, isObservable, type Observable } from 'rxjs';
import { RegisteredError } from '../errors/errors.js';
import { shown } from '../errors/shown.js';
import type { RapPatternExtras, Route } from '../handlers/handler.js';
import { isGenerator } from '../handlers/method-metadata.js';
import type { RapContext } from '../handlers/rap-context.js';
import { assertKnown, type Keys } from '../validation/known-options.js';
import { extrasProblem, routeOf } from './make-route.js';

/** Options of `server.register`. */
export interface RapFunctionExtras extends Pick<
  RapPatternExtras,
  'group' | 'private' | 'timeoutMs' | 'doc' | 'idempotent' | 'input' | 'output'
> {
  /**
   * `channel`: the function gets a `RapChannel`. `event`: it handles events of this name, beside all other handlers of them.
   * `unary` and `stream` are for the registry; a generator function is a `stream` by itself.
   */
  kind?: 'unary' | 'stream' | 'channel' | 'event' | undefined;
  /** The function may stand in for a handler of a controller, until it is unregistered. Default false. */
  replace?: boolean | undefined;
}

const EXTRAS: Keys<RapFunctionExtras> = {
  group: true,
  private: true,
  timeoutMs: true,
  doc: true,
  idempotent: true,
  input: true,
  output: true,
  kind: true,
  replace: true,
};

/** The route of a function that is registered at run time. @throws RegisteredError for what is wrong with it */
export function functionRoute(
  target: string,
  pattern: string,
  handler: (data: never, context: RapContext) => unknown,
  extras: RapFunctionExtras,
): Route {
  const problem = functionProblem(handler, extras);
  if (problem) throw new RegisteredError(`register ${target}: ${problem}`);
  const { kind = isGenerator(handler) ? 'stream' : undefined, ...options } = extras;
  const isEvent = kind === 'event';
  return routeOf({
    target,
    pattern,
    handler: filtered(handler),
    isEvent,
    extras: isEvent ? options : { ...options, kind },
  });
}

/** They may come from JavaScript. */
function functionProblem(handler: unknown, extras: RapFunctionExtras): string | undefined {
  if (typeof handler !== 'function') return `the handler must be a function, got ${shown(handler)}`;
  try {
    assertKnown('extras', extras, EXTRAS);
  } catch (error) {
    return (error as RangeError).message;
  }
  const { kind, replace, ...options } = extras;
  if (replace !== undefined && typeof replace !== 'boolean')
    return `replace must be true or false, got ${shown(replace)}`;
  if (kind === 'event') return extrasProblem(options);
  const problem = extrasProblem({ ...options, kind });
  return problem?.startsWith('kind')
    ? `kind must be unary, stream, channel or event, got ${shown(kind)}`
    : problem;
}

/** Does for a function what Nest does around a handler: errors go through its last filter, which masks and logs them. */
function filtered(handler: (data: never, context: RapContext) => unknown): MessageHandler {
  const filter = new BaseRpcExceptionFilter();
  return async (data: unknown, context: RapContext) => {
    const failed = (error: unknown): Observable<unknown> => {
      const host = new ExecutionContextHost([data, context]);
      host.setType('rpc');
      return filter.catch(error, host);
    };
    try {
      const result = await handler(data as never, context);
      return isObservable(result) ? result.pipe(catchError(failed)) : result;
    } catch (error) {
      return failed(error);
    }
  };
}
