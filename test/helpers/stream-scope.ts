/** What specs of streams and channels begin with: a probe and a gate for their handlers, and a way to serve these. */
import type { Type } from '@nestjs/common';
import type { RapClient, RapClientOptions } from '../../lib/index.js';
import { Gate, type ServedApp, testScope } from './async.js';
import { idle, Probe } from './streams.js';

export const scope = testScope();

/** What the handlers of a test have gone through. */
export let probe = new Probe();
/** What handlers wait for. It opens with the end of the test at the latest. */
export let gate = new Gate();
/** Anything else that handlers have met. */
export let notes: unknown[] = [];

beforeEach(() => {
  probe = new Probe();
  gate = new Gate();
  notes = [];
});

/** Has later calls wait at a gate of their own. */
export function nextGate(): void {
  gate = new Gate();
}

export type ServeOptions = Parameters<typeof scope.serve>[1];

/** Serves controllers until the test ends. No handler may be left then. */
export async function serve(controllers: Type[], options?: ServeOptions): Promise<ServedApp> {
  const test = await scope.serve(controllers, options);
  scope.defer(() => {
    gate.open();
    return idle(test);
  });
  return test;
}

/** As {@link serve}, with a client that closes before the handlers must have ended. */
export async function serveWithClient(
  controllers: Type[],
  options?: ServeOptions,
  clientOptions?: RapClientOptions,
): Promise<ServedApp & { mine: RapClient }> {
  const test = await scope.serve(controllers, options);
  const mine = test.client(clientOptions);
  scope.defer(() => {
    gate.open();
    mine.close();
    return idle(test);
  });
  return { ...test, mine };
}
