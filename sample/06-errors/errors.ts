import { RapError, registerError, type RapErrorOptions } from 'nestjs-rap';

/** Shared by both sides: thrown on the server, it arrives as this class. */
export class OutOfStockError extends RapError {
  constructor(message: string, options?: RapErrorOptions) {
    super(message, { code: 'ERR_OUT_OF_STOCK', httpStatus: 409, ...options });
  }
}
registerError(OutOfStockError);
