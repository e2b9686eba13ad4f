import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { isThenable } from '../../protocol/values/unknown.js';
import { RapContext } from '../handlers/rap-context.js';
import { checkedParameters, inputCheck } from '../checks/checks.js';
import type { StandardSchema } from '../validation/standard-schema.js';

/**
 * Checks the parameters of a contract's method, as the last of its guards: whoever may not call is told so first, and
 * interceptors, pipes and the handler see only what fits. Unlike a pipe it works whatever parameters the method takes.
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
