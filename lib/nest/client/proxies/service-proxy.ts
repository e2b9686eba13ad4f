import { formatTarget } from '../../../protocol/target.js';
import { assertContract, type RapServiceDefinition } from '../../contract/contract.js';
import { carriedCaller, type ValuesCarried } from './carried-calls.js';
import { type MethodCaller, methodCaller, type ServiceCaller } from './method-caller.js';
import type { RapServiceClient } from './service-types.js';

/**
 * Makes a proxy: an object with one function for each method of the contract.
 *
 * @throws RegisteredError for a value that is not a contract
 */
export function serviceProxy<S extends RapServiceDefinition>(
  client: ServiceCaller,
  definition: S,
  carried: ValuesCarried,
): RapServiceClient<S> {
  assertContract('client.service()', definition);
  const { group, methods } = definition;
  const proxy: Record<string, MethodCaller> = {};
  for (const [name, method] of Object.entries(methods)) {
    const target = formatTarget(group, name);
    const caller = methodCaller(client, target, method.kind, method);
    proxy[name] = method.input || method.output ? carriedCaller(caller, target, method, carried) : caller;
  }
  // not frozen: tests replace methods by spies
  return proxy as unknown as RapServiceClient<S>;
}
