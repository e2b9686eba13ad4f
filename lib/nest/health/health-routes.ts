import { isRecord } from '../../protocol/values/unknown.js';
import { ParseError } from '../errors/errors.js';
import { shown } from '../errors/shown.js';
import type { Route } from '../handlers/handler.js';
import { ownRoute } from '../handlers/own-route.js';
import type { RapContext } from '../handlers/rap-context.js';
import type { RapHealth } from './rap-health.js';

/** `/health/check` and `/health/watch`, which the server answers itself. */
export function healthRoutes(health: RapHealth, access: 'private' | 'public'): Route[] {
  const own = { group: 'health', isPrivate: access === 'private' };
  return [
    ownRoute({
      ...own,
      name: 'check',
      doc: 'Whether the server, or a service of it, serves',
      handler: (data: unknown) => Promise.resolve({ status: health.status(serviceOf(data)) }),
    }),
    ownRoute({
      ...own,
      name: 'watch',
      kind: 'stream',
      doc: 'Whether the server, or a service of it, serves, now and after each change',
      handler: (data: unknown, context: RapContext) =>
        Promise.resolve(health.watch(serviceOf(data), context)) as never,
    }),
  ];
}

/** The service that `{ service }` names; without one, the whole server. @throws ParseError for anything else */
function serviceOf(data: unknown): string {
  if (data === null || data === undefined) return '';
  const service = isRecord(data) ? (data['service'] ?? '') : data;
  if (!isRecord(data) || typeof service !== 'string')
    throw new ParseError(`the parameter must be { service: <text> }, got ${shown(service)}`);
  return service;
}
