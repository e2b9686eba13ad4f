import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { Controller, Get, Module, Param } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import { InjectRapClient, RapClient, RapError, RapExceptionFilter, RapModule } from 'nestjs-rap';
import { OutOfStockError } from './errors.js';

const port = Number(process.argv[2] ?? 9000);

/** An HTTP gateway: it does not catch errors, and the filter answers with the corresponding HTTP status. */
@Controller()
class GatewayController {
  constructor(@InjectRapClient('SHOP') readonly shop: RapClient) {}

  @Get('articles/:id') article(@Param('id') id: string): Promise<string> {
    return this.shop.call('article', { id });
  }
  @Get(':name') any(@Param('name') name: string): Promise<unknown> {
    return this.shop.call(name);
  }
}

@Module({
  imports: [RapModule.register([{ name: 'SHOP', host: 'localhost', port }])],
  controllers: [GatewayController],
  providers: [{ provide: APP_FILTER, useClass: RapExceptionFilter }],
})
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: false });
await app.listen(0, 'localhost');
const { shop } = app.get(GatewayController);

console.log('over rap:');
for (const [name, data] of [
  ['raise_exc', {}],
  ['raise_msg_exc', {}],
  ['raise_auth', {}],
  ['no_such_function', {}],
  ['article', { id: 'x' }],
  ['article', { id: '100' }],
  ['article', { id: '7' }],
] as const) {
  const error = (await shop.call(name, data).catch((caught: unknown) => caught)) as RapError;
  const { status, code, details } = error;
  const more = details === undefined ? '' : ` ${JSON.stringify(details)}`;
  console.log(`  ${String(error)} (${status}, ${code})${more}`);
  if (error instanceof OutOfStockError) console.log('  it is an OutOfStockError');
}

console.log('through the HTTP gateway:');
const { port: httpPort } = (app.getHttpServer() as { address(): AddressInfo }).address();
for (const path of [
  'raise_exc',
  'raise_auth',
  'no_such_function',
  'articles/x',
  'articles/100',
  'articles/7',
]) {
  const answer = await fetch(`http://localhost:${httpPort}/${path}`);
  console.log(`  GET /${path} -> ${answer.status} ${await answer.text()}`);
}
await app.close();
