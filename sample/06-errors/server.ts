import 'reflect-metadata';
import { Controller, Module, NotFoundException, ParseIntPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { AuthError, RapServer } from 'nestjs-rap';
import { OutOfStockError } from './errors.js';

@Controller()
class ShopController {
  @MessagePattern('raise_exc') unknown(): never {
    throw new Error('a secret of the server'); // only the log shows it
  }
  @MessagePattern('raise_msg_exc') message(): never {
    throw new RpcException('this is a message for the caller');
  }
  @MessagePattern('raise_auth') auth(): never {
    throw new AuthError('not yours', { code: 'ERR_ORDER_OWNER', details: { order: 7 } });
  }
  @MessagePattern('article') article(@Payload('id', ParseIntPipe) id: number): string {
    if (id > 99) throw new NotFoundException(`no article ${id}`);
    throw new OutOfStockError(`article ${id} is out of stock`, {
      details: { id, shelves: [{ at: { row: 3 } }] },
    });
  }
}

@Module({ controllers: [ShopController] })
class AppModule {}

const server = new RapServer({ host: 'localhost', port: Number(process.argv[2] ?? 9000) });
const app = await NestFactory.createMicroservice(AppModule, { strategy: server, logger: false });
app.enableShutdownHooks();
await app.listen();
process.send?.(server.address());
