import { formatTarget } from '../../protocol/target.js';
import { assertContract, type RapServiceDefinition } from './contract.js';
import { type MethodCaller, methodCaller, type ServiceCaller } from './method-caller.js';
import type { RapServiceClient } from './service-types.js';

/**
 * Makes a proxy: an object with one function for each method of the contract.
 *
 * @throws RegisteredError for what is no contract
 */
export function serviceProxy<S extends RapServiceDefinition>(
  client: ServiceCaller,
  definition: S,
): RapServiceClient<S> {
  assertContract('client.service()', definition);
  const { group, methods } = definition;
  const proxy: Record<string, MethodCaller> = {};
  for (const [name, { kind, timeoutMs }] of Object.entries(methods)) {
    proxy[name] = methodCaller(client, formatTarget(group, name), kind, timeoutMs);
  }
  // not frozen: tests replace methods by spies
  return proxy as unknown as RapServiceClient<S>;
}
