import { Fault } from '../protocol/fault.js';

/** The fault of a client's own processor: the caller gets what was thrown, the server what can be said of it. */
export class ThrownFault extends Fault {
  constructor(
    readonly thrown: unknown,
    { status, message, code, details, remoteName }: Fault,
  ) {
    super({ status, message, code, details, remoteName, cause: thrown });
  }
}
