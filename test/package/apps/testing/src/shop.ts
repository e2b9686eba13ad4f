import 'reflect-metadata';
import { Controller, Inject, Module } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { defineService, InjectRapClient, RapClient, RapModule, unary } from 'nestjs-rap';

export const MathService = defineService('math', { sum: unary<{ a: number; b: number }, number>() });

@Controller()
export class ShopController {
  constructor(
    @InjectRapClient('STOCK') private readonly stock: RapClient,
    @Inject('TAX') private readonly tax: number,
  ) {}

  @MessagePattern('total')
  async total(@Payload() name: string): Promise<number> {
    return (await this.stock.call<number>('price', name)) + this.tax;
  }

  @MessagePattern('never')
  never(): Promise<never> {
    return new Promise(() => {});
  }
}

@Module({
  imports: [RapModule.register([{ name: 'STOCK', host: 'stock.invalid' }])],
  controllers: [ShopController],
  providers: [{ provide: 'TAX', useValue: 100 }],
})
export class ShopModule {}
