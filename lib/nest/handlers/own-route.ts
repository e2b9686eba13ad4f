import type { MessageHandler } from '@nestjs/microservices';
import { formatTarget } from '../../protocol/target.js';
import type { Route } from './handler.js';

interface OwnRouteInit {
  readonly group: string;
  readonly name: string;
  readonly doc: string;
  readonly handler: MessageHandler;
  readonly isPrivate: boolean;
  /** Default: `unary`. */
  readonly kind?: 'unary' | 'stream';
}

/** A function that every server has by itself. */
export function ownRoute({ group, name, doc, handler, isPrivate, kind = 'unary' }: OwnRouteInit): Route {
  const target = formatTarget(group, name);
  return {
    target,
    group,
    name,
    pattern: target,
    handler,
    kind,
    isUnary: kind === 'unary',
    isPrivate,
    timeoutMs: undefined,
    idempotent: true,
    doc,
    isChannel: false,
    owner: `RapServer.${name}`,
    input: undefined,
    output: undefined,
  };
}
