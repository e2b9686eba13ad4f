import { RapClient, TooManyRequestsError } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);
const open = (): RapClient => new RapClient({ host: '127.0.0.1', port, reconnect: false });
const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const [first, second, third] = [open(), open(), open()];
await first.connect();
await second.connect();
await third.connect().then(
  () => console.log('third connection: open'),
  (error: unknown) => console.log(`third connection: ${message(error)}`),
);

for (let i = 1; i <= 4; i++) {
  try {
    console.log(`call ${i}: sum -> ${await first.call<number>('sum', { a: i, b: i })}`);
  } catch (error) {
    if (!(error instanceof TooManyRequestsError)) throw error;
    const { retryAfterMs } = error.details as { retryAfterMs: number };
    console.log(`call ${i}: ${error.message}; try again within ${Math.ceil(retryAfterMs / 1000)} s`);
  }
}

console.log(`lists now: ${await first.call<string>('ban', '127.0.0.0/8')}`);
await second.close();
const fourth = open();
await fourth.connect().catch((error: unknown) => console.log(`new connection: ${message(error)}`));
// open connections stay
console.log(`old connection: ping ${(await first.ping()) >= 0 ? 'answered' : ''}`);

for (const client of [first, third, fourth]) await client.close();
