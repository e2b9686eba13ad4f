import { Controller, type DynamicModule, Module, type Type } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';

interface SumParams {
  a: number;
  b: number;
}

/** The same handlers for every Nest transport that takes string patterns. */
@Controller()
export class StringPatternController {
  @MessagePattern('sum')
  sum({ a, b }: SumParams): number {
    return a + b;
  }

  @MessagePattern('echo')
  echo(text: string): string {
    return text;
  }
}

@Controller()
export class ObjectPatternController {
  @MessagePattern({ cmd: 'sum' })
  sum({ a, b }: SumParams): number {
    return a + b;
  }

  @MessagePattern({ cmd: 'echo' })
  echo(text: string): string {
    return text;
  }
}

@Module({})
// oxlint-disable-next-line typescript/no-extraneous-class -- a Nest module has only its decorator
class BenchModule {}

export function moduleOf(...controllers: Type[]): DynamicModule {
  return { module: BenchModule, controllers };
}
