import { type ConnectionSecurity, SECURITY } from '../rpc/connection/security.js';

/**
 * The one processor that secures connections, if there is one.
 *
 * @throws TypeError if there are two, or if it is for the other side.
 */
export function securityOf(
  processors: readonly object[] | undefined,
  side: 'client' | 'server',
): ConnectionSecurity | undefined {
  const [security, another] = (processors ?? [])
    .map((processor) => (processor as { [SECURITY]?: ConnectionSecurity } | null)?.[SECURITY])
    .filter((found) => found !== undefined);
  if (another) throw new TypeError('processors: two of them encrypt; a connection has one encryption');
  if (security && security.side !== side) {
    const needs = side === 'server' ? 'keys' : 'keyId and key';
    throw new TypeError(`processors: a CryptoProcessor on a ${side} takes ${needs}`);
  }
  return security;
}
