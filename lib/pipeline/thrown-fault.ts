import { Fault } from '../protocol/fault.js';

/** The fault of a client's own processor: the caller gets the thrown value, the server its wire form. */
export class ThrownFault extends Fault {
  constructor(
    readonly thrown: unknown,
    { status, message, code, details, remoteName, retry }: Fault,
  ) {
    super({ status, message, code, details, remoteName, retry, cause: thrown });
  }
}
