import { Fault } from '../../protocol/fault.js';
import { Status } from '../../protocol/status.js';
import type { Route } from '../handlers/handler.js';

/** 1008, with a message that says what the handler is and how to call it. */
export function kindFault(route: Route, is: string, use: string, used: string): Fault {
  return new Fault({ status: Status.Channel, message: `${route.target} is ${is}: use ${use}, not ${used}` });
}

/** For a channel to a function that is not one. Unless its kind is known, only its result says whether it streams. */
export function noChannelFault(route: Route): Fault {
  if (route.kind === 'stream') return kindFault(route, 'a stream', 'stream()', 'channel()');
  return kindFault(route, 'unary', 'call(), or stream() if it streams', 'channel()');
}

/** For a unary function that was opened as a stream or channel. */
export function unaryFault(route: Route): Fault {
  return kindFault(route, 'unary', 'call()', 'stream() or channel()');
}

/** For a stream whose parameters do not arrive. */
export function parametersFault({ target }: Route, afterMs: number): Fault {
  const message = `${target} is no channel: its parameters, the first message, did not come in ${afterMs} ms`;
  return new Fault({ status: Status.Channel, message });
}

/** For a stream whose client ends its side instead of sending parameters. */
export function noParametersFault({ target }: Route): Fault {
  const message = `${target} is no channel: END came in place of its parameters, the first message`;
  return new Fault({ status: Status.Channel, message });
}
