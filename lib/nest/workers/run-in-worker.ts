import 'reflect-metadata';
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BaseRpcContext, Ctx, Payload } from '@nestjs/microservices';
import { ChannelError } from '../errors/errors.js';
import { copyMetadata } from '../handlers/method-metadata.js';
import { RapChannel } from '../streams/rap-channel.js';
import { RapContext } from '../handlers/rap-context.js';
import { runInThread } from './worker-pool.js';

/** Metadata key of Nest's parameter decorators, and the prefix of `@Ctx()` in it. */
const PARAM_ARGS_METADATA = '__routeArguments__';
const CONTEXT_PARAM = '6:';

export interface RunInWorkerOptions {
  /**
   * Transfer large buffers (64 KiB and more) to the thread and back instead of copying them. Buffers of the payload are empty
   * then for code that reads them afterwards, such as an interceptor. Default true.
   */
  transfer?: boolean | undefined;
}

/**
 * Runs an exported function in a worker thread instead of the method's body, while the event loop goes on. Guards, pipes,
 * interceptors and filters work as for any handler. The function gets the method's arguments without the context; when the
 * call is cancelled, or its time is over, the thread is stopped. Needs the package `piscina`.
 *
 *     @MessagePattern('fib')
 *     @RunInWorker(new URL('./heavy.js', import.meta.url), 'fib')
 *     fib(@Payload() _params: { n: number }): Promise<number> {
 *       return inWorker();
 *     }
 *
 * @param module URL or absolute path of a JavaScript module
 * @param name of a function that it exports; default `'default'`
 * @throws TypeError if the module is not a file, or the decorator is not on a method
 */
export function RunInWorker(
  module: URL | string,
  name = 'default',
  { transfer = true }: RunInWorkerOptions = {},
): MethodDecorator {
  return (target, key, descriptor) => {
    const where = `@RunInWorker on ${target.constructor.name}.${String(key)}`;
    const method = (descriptor as PropertyDescriptor | undefined)?.value as unknown;
    if (typeof method !== 'function') throw new TypeError(`${where}: it can only decorate a method`);
    if (typeof name !== 'string' || name === '') throw new TypeError(`${where}: the function has no name`);
    const url = urlOf(module, where);
    askForContext(target, key);
    const { [key]: replacement } = {
      async [key](...args: unknown[]): Promise<unknown> {
        if (args.some((arg) => arg instanceof RapChannel)) {
          throw new ChannelError(`${where}: a channel cannot go to a worker thread`);
        }
        const context = args.find((arg) => arg instanceof RapContext);
        const data = args.filter((arg) => !(arg instanceof BaseRpcContext));
        return runInThread({ url, name, args: data, transfer }, context?.signal);
      },
    } as Record<string | symbol, object>;
    copyMetadata(method, replacement as object);
    return { ...descriptor, value: replacement as never };
  };
}

/** The body of a method that has {@link RunInWorker}: it never runs. @throws Error if the decorator is missing */
export function inWorker(): never {
  throw new Error('inWorker() was called in a method that has no @RunInWorker: decorate the method');
}

function urlOf(module: unknown, where: string): string {
  const url = typeof module === 'string' && isAbsolute(module) ? pathToFileURL(module) : module;
  const text = url instanceof URL ? url.href : url;
  if (typeof text === 'string' && text.startsWith('file:')) return text;
  throw new TypeError(
    `${where}: ${String(module)} is not a file; use new URL('./heavy.js', import.meta.url) or an absolute path`,
  );
}

/** Nest passes a method only what its parameters ask for, or the payload alone: this adds the context of the call. */
function askForContext(target: object, key: string | symbol): void {
  const params = paramsOf(target, key);
  if (Object.keys(params).some((param) => param.startsWith(CONTEXT_PARAM))) return;
  const indexes = Object.values(params).map(({ index }) => index);
  if (indexes.length === 0) Payload()(target, key, 0);
  Ctx()(target, key, Math.max(0, ...indexes) + 1);
}

function paramsOf(target: object, key: string | symbol): Readonly<Record<string, { index: number }>> {
  const params = Reflect.getMetadata(PARAM_ARGS_METADATA, target.constructor, key) as unknown;
  return (params ?? {}) as Readonly<Record<string, { index: number }>>;
}
