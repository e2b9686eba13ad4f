import { assertContract, type RapServiceDefinition } from './contract.js';

/** Of the whole process: a contract may meet two copies of this package. */
const KEY = Symbol.for('nestjs-rap.serviceTokens');
const shared = globalThis as { [KEY]?: WeakMap<RapServiceDefinition, symbol> };
const tokens = (shared[KEY] ??= new WeakMap());

/**
 * The injection token of a contract's client.
 *
 * @throws RegisteredError for what is no contract
 */
export function serviceToken(where: string, service: RapServiceDefinition): symbol {
  assertContract(where, service);
  const known = tokens.get(service);
  if (known) return known;
  const token = Symbol(`client of service "${service.group}"`);
  tokens.set(service, token);
  return token;
}
