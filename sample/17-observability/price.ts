import { Controller, Module } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { serve } from './service.js';

@Controller()
class PriceController {
  @MessagePattern({ group: 'price', name: 'of' }, { idempotent: true })
  of(@Payload() { count }: { article: string; count: number }): number {
    return count * 4;
  }
}

@Module({ controllers: [PriceController] })
class PriceModule {}

await serve('price', PriceModule);
