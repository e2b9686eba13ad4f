import { assertContract, type RapServiceDefinition } from './contract.js';

/** Shared by the whole process: two copies of this package may see one contract. */
const KEY = Symbol.for('nestjs-rap.serviceTokens');
const shared = globalThis as { [KEY]?: WeakMap<RapServiceDefinition, symbol> };
const tokens = (shared[KEY] ??= new WeakMap());

/**
 * The injection token of a contract's client.
 *
 * @throws RegisteredError for a value that is not a contract
 */
export function serviceToken(where: string, service: RapServiceDefinition): symbol {
  assertContract(where, service);
  const known = tokens.get(service);
  if (known) return known;
  const token = Symbol(`client of service "${service.group}"`);
  tokens.set(service, token);
  return token;
}
