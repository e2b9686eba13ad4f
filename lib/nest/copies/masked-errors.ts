import type { ArgumentsHost } from '@nestjs/common';
import type { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { RapContext } from '../handlers/rap-context.js';

/**
 * Lets a `RapContext` remember what Nest masks. Nest's last filter replaces every error that it does not know by one
 * text before a transport sees it, and has no hook: an `HttpException` of a pipe would lose its reasons, and
 * `exposeErrors` could not work. So its `catch` is wrapped. What the filter does and logs stays the same for every
 * transport.
 */
export function rememberMaskedErrors(prototype: BaseRpcExceptionFilter): void {
  // oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
  const original = prototype.catch as (
    this: BaseRpcExceptionFilter,
    exception: never,
    host: ArgumentsHost,
  ) => ReturnType<typeof prototype.catch>;
  prototype.catch = function (exception: unknown, host: ArgumentsHost) {
    const context: unknown = host.switchToRpc().getContext();
    if (context instanceof RapContext) context.failure = exception;
    return original.call(this, exception as never, host);
  };
}
