// A customer orders at a shop, the shop reserves at the stock, the stock asks for the price.
import { Logger } from '@nestjs/common';
import { RapClient } from 'nestjs-rap';
import { ServerProcess } from '../processes.js';
import { Spans } from './spans.js';

const spans = new Spans();
const start = (name: string, env: NodeJS.ProcessEnv = {}): Promise<ServerProcess> =>
  new ServerProcess(new URL(`${name}.js`, import.meta.url), { ...process.env, ...env }, (text) =>
    spans.add(text),
  ).start();
const price = await start('price');
const stock = await start('stock', { PRICE_PORT: String(price.port) });
const shop = await start('shop', { STOCK_PORT: String(stock.port) });

Logger.overrideLogger(['warn', 'error']);
const customer = new RapClient({ host: '127.0.0.1', port: shop.port });
for (const count of [3, 8]) {
  const order = { article: 'tea', count };
  const answer = await customer.call<string>({ group: 'shop', name: 'order' }, order).catch(String);
  console.log(`order of ${count} -> ${answer}`);
}
const metrics = await fetch(String(stock.ready['metrics'])).then((response) => response.text());
await customer.drain();
await Promise.all([shop, stock, price].map((service) => service.end('SIGTERM')));

for (const trace of spans.traces()) console.log(`\n${trace}`);
console.log('\n/metrics of stock, in part');
const shown = /^rap_\w+_(handled_total|handling_seconds_count|connections)\b/;
for (const line of metrics.split('\n')) if (shown.test(line)) console.log(`  ${line}`);
