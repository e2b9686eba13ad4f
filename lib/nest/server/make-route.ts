import type { MessageHandler } from '@nestjs/microservices';
import { parseTarget } from '../../protocol/target.js';
import {
  misspeltExtra,
  type RapHandlerInfo,
  type RapPatternExtras,
  type Route,
} from '../handlers/handler.js';
import { checkedHandler } from './checked-handler.js';
import { optionProblem } from '../contract/method-options.js';
import { isStandardSchema } from '../validation/standard-schema.js';
import { SharedRequest } from './shared-request.js';
import { shown } from '../errors/shown.js';

interface RouteInit {
  readonly target: string;
  /** Normalised by Nest. */
  readonly pattern: string;
  readonly handler: MessageHandler;
  readonly isEvent: boolean;
  readonly extras: RapPatternExtras & Record<string, unknown>;
}

/** The route of a handler that Nest binds. */
export function routeOf({ target, pattern, handler, isEvent, extras }: RouteInit): Route {
  const { service, kind, timeoutMs, doc, handlerName } = extras;
  const { input, output } = service?.method ?? extras;
  const isChannel = kind === 'channel';
  return {
    ...(parseTarget(target) as { group: string; name: string }),
    target,
    pattern,
    handler: checkedHandler(isEvent ? SharedRequest.shareIn(handler) : handler, {
      target,
      isChannel,
      returnsResult: service?.method.kind === 'clientStream',
      // the last guard of a contract's method checks its parameters
      input: service && !isChannel ? undefined : schemaOf(input),
      output: schemaOf(output),
    }),
    kind: kindOf(kind, isEvent),
    isUnary: !isEvent && kind === 'unary',
    isPrivate: extras.private === true,
    timeoutMs,
    idempotent: extras.idempotent === true,
    doc: typeof doc === 'string' ? doc : '',
    isChannel,
    owner: typeof handlerName === 'string' ? handlerName : undefined,
    input: schemaOf(input),
    output: schemaOf(output),
  };
}

function kindOf(kind: RapPatternExtras['kind'], isEvent: boolean): RapHandlerInfo['kind'] {
  if (isEvent) return 'event';
  return kind === 'channel' || kind === 'stream' ? kind : 'unary';
}

function schemaOf(schema: unknown): RouteInit['extras']['input'] {
  return isStandardSchema(schema) ? schema : undefined;
}

/** What is wrong with a handler's extras; they may come from JavaScript. */
export function extrasProblem(extras: RapPatternExtras): string | undefined {
  const { kind } = extras;
  if (kind !== undefined && !KINDS.has(kind))
    return `kind must be unary, stream or channel, got ${shown(kind)}`;
  return optionProblem(extras) ?? misspeltExtra(extras);
}

const KINDS: ReadonlySet<unknown> = new Set(['unary', 'stream', 'channel']);
