import { RapClient } from 'nestjs-rap';

const port = Number(process.argv[2] ?? 9000);
const guest = (name: string): RapClient =>
  new RapClient({ host: 'localhost', port, metadata: { name }, reconnect: false });

const ann = guest('ann');
console.log(`ann: sum(1, 2) -> ${await ann.call<number>('sum', { a: 1, b: 2 })}`);
console.log(`ann: sum(1, 2) -> ${await ann.call<number>('sum', { a: 1, b: 2 })}, from the cache`);

const bob = guest('bob');
await bob.connect();
const eve = guest('eve');
await eve.connect().catch((error: Error) => console.log(`eve: ${error.message}`));

ann.close();
bob.close();
