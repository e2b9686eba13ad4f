import type { CallingPath } from '../rpc/client/calling.js';
import type { ServingPath } from '../rpc/server/serving.js';
import type { Processors } from './exchange.js';
import { ProcessedCalling } from './processed-calling.js';
import { ProcessedServing } from './processed-serving.js';

/** Calls of a client go through its processors. Chosen once for a client, not for each call. */
export function callingThrough(processors: Processors): CallingPath {
  return { holdsValues: true, open: (options) => new ProcessedCalling(options, processors) };
}

/** Incoming calls and channels of a server go through its processors. Chosen once for a server. */
export function servingThrough(processors: Processors): ServingPath {
  return (options) => new ProcessedServing(options, processors);
}
