import { Controller, Module } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { InjectRapClient, InvokeError, RapClient, RapModule } from 'nestjs-rap';
import { serve } from './service.js';

@Controller()
class StockController {
  readonly #left = new Map([['tea', 10]]);

  constructor(@InjectRapClient('PRICE') private readonly price: RapClient) {}

  /** Its call is a part of the trace of the call that it handles; nothing is passed on by hand. */
  @MessagePattern({ group: 'stock', name: 'reserve' })
  async reserve(@Payload() order: { article: string; count: number }): Promise<number> {
    const left = (this.#left.get(order.article) ?? 0) - order.count;
    if (left < 0) throw new InvokeError(`not enough ${order.article}`);
    this.#left.set(order.article, left);
    return this.price.call<number>({ group: 'price', name: 'of' }, order);
  }
}

@Module({
  imports: [
    RapModule.register([{ name: 'PRICE', host: '127.0.0.1', port: Number(process.env['PRICE_PORT']) }]),
  ],
  controllers: [StockController],
})
class StockModule {}

await serve('stock', StockModule);
