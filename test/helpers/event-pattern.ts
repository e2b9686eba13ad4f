import * as nest from '@nestjs/microservices';

/** Nest's own `@EventPattern`, without its first overloads: by those a handler may take `data` and nothing typed after it. */
export const EventPattern = nest.EventPattern as (
  pattern: unknown,
  transportOrExtras?: nest.Transport | symbol | object,
  extras?: object,
) => MethodDecorator;
