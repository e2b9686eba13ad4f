import { Controller, Module } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { InjectRapClient, RapClient, RapModule } from 'nestjs-rap';
import { serve } from './service.js';

@Controller()
class ShopController {
  constructor(@InjectRapClient('STOCK') private readonly stock: RapClient) {}

  @MessagePattern({ group: 'shop', name: 'order' })
  async order(@Payload() order: { article: string; count: number }): Promise<string> {
    const total = await this.stock.call<number>({ group: 'stock', name: 'reserve' }, order);
    return `${order.count} ${order.article} for ${total}`;
  }
}

@Module({
  imports: [
    RapModule.register([{ name: 'STOCK', host: '127.0.0.1', port: Number(process.env['STOCK_PORT']) }]),
  ],
  controllers: [ShopController],
})
class ShopModule {}

await serve('shop', ShopModule);
