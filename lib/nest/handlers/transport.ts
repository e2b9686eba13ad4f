/** Transport id of rap, for `@MessagePattern('sum', RAP_TRANSPORT)`. `Symbol.for`, so that two copies of the package agree. */
export const RAP_TRANSPORT: unique symbol = Symbol.for('rap') as never;
