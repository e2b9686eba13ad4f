import { inspect } from 'node:util';
import type { AnyRapMethod, RapServiceDefinition } from '../nest/contract/contract.js';
import { assertContract } from '../nest/contract/contract.js';
import { ServiceBinding, ServiceMethod } from '../nest/contract/service-binding.js';
import { serviceToken } from '../nest/contract/service-token.js';
import type { RapServiceClient } from '../nest/client/proxies/service-types.js';
import { FuncNotFoundError, RegisteredError } from '../nest/errors/errors.js';
import type { RapPatternExtras } from '../nest/handlers/handler.js';
import type { RapHandlers } from '../nest/server/service-handlers.js';
import { formatTarget } from '../protocol/target.js';
import { isObject } from '../protocol/values/unknown.js';
import { calledAt } from './made-at.js';
import { assertFunction } from './mock-client.js';
import { type AnyHandler, type MockRoute, MockServer, type RapMockOptions } from './mock-server.js';

/**
 * The methods of a contract whose calls go to your functions: what `client.service(contract)` and `@InjectRapService(contract)` give.
 * Handlers and callers are checked against the types of the contract, values against its schemas, and values are copied as on the
 * wire. Each method is a property of its own, which a test may spy on. It need not be closed.
 *
 *     const math = mockService(MathService, { sum: ({ a, b }) => a + b });
 *     expect(await math.sum({ a: 1, b: 2 })).toBe(3);
 *
 * Handlers may be left out: their methods fail with `FuncNotFoundError`, which names those that are there.
 *
 * @throws RegisteredError if `contract` is not one, or has no method of this name; TypeError if a handler is not a function
 */
export function mockService<S extends RapServiceDefinition>(
  contract: S,
  handlers: Partial<RapHandlers<S>>,
  options: RapMockOptions = {},
): RapServiceClient<S> {
  assertContract('mockService()', contract);
  if (!isObject(handlers))
    throw new TypeError(`mockService() needs handlers by method, got ${inspect(handlers)}`);
  const { group, methods } = contract;
  const given = handlers as Readonly<Record<string, AnyHandler | undefined>>;
  for (const [name, handler] of Object.entries(given)) {
    if (!Object.hasOwn(methods, name))
      throw new RegisteredError(
        `mockService(): service "${group}" has no method "${name}"; it has ${Object.keys(methods).join(', ')}`,
      );
    if (handler !== undefined) assertFunction(`mockService(): ${name}`, handler);
  }
  const routes = Object.entries(methods).map(([name, method]): MockRoute => ({
    pattern: formatTarget(group, name),
    extras: extrasOf(contract, name, method),
    handler: () => given[name] ?? missing(group, name, given),
  }));
  const at = calledAt(mockService);
  const what = `mockService() of "${group}"${at === undefined ? '' : ` made at ${at}`}`;
  return new MockServer(what, routes, options.server).world.client(options.client).service(contract);
}

/** The token of `@InjectRapService(contract)`, for `overrides` of a test bed. @throws RegisteredError if it is not a contract */
export function rapServiceToken(contract: RapServiceDefinition): symbol {
  return serviceToken('rapServiceToken()', contract);
}

function missing(
  group: string,
  name: string,
  given: Readonly<Record<string, AnyHandler | undefined>>,
): AnyHandler {
  return () => {
    const known = Object.keys(given).filter((each) => given[each] !== undefined);
    throw new FuncNotFoundError(
      `mockService() of "${group}" has no handler for ${name}; it has ${known.length === 0 ? 'none' : known.join(', ')}`,
    );
  };
}

function extrasOf({ group }: RapServiceDefinition, name: string, method: AnyRapMethod): RapPatternExtras {
  const { kind, timeoutMs, input, output } = method;
  const extras: RapPatternExtras = timeoutMs === undefined ? {} : { timeoutMs };
  if (kind === 'unary') return { ...extras, kind: 'unary', input, output };
  if (kind === 'serverStream') return { ...extras, kind: 'stream', input, output };
  const binding = new ServiceBinding({ group, methods: { [name]: method } }, 'mockService()');
  return { ...extras, kind: 'channel', service: new ServiceMethod(binding, name, method, false) };
}
