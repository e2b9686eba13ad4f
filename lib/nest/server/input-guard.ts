import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { isThenable } from '../../protocol/values/unknown.js';
import { RapContext } from '../handlers/rap-context.js';
import { checkedParameters, inputCheck } from '../checks/checks.js';
import type { StandardSchema } from '../validation/standard-schema.js';

/**
 * Checks the parameters of a contract's method, as the last of its guards: a caller that may not call learns that first, and
 * interceptors, pipes and the handler see only valid values. Unlike a pipe it works for any list of parameters.
 */
export class InputGuard implements CanActivate {
  constructor(private readonly schema: StandardSchema) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    // the guards of a call, its pipes and its handler share this array
    const args = context.getArgs<unknown[]>();
    const [data, call] = args;
    if (!(call instanceof RapContext)) return true;
    const value = checkedParameters(inputCheck(this.schema, call.target, call.carriesValues), data);
    if (!isThenable(value)) {
      args[0] = value;
      return true;
    }
    return Promise.resolve(value).then((settled) => {
      args[0] = settled;
      return true;
    });
  }
}
