// A well-behaved client: 200 calls a second over one connection, and a new connection every half second. Counts what went wrong.
import { CryptoProcessor, RapClient } from 'nestjs-rap';

const { crypto, ...options } = JSON.parse(process.argv[2]);
const processors = crypto && [new CryptoProcessor({ keyId: 'one', ...crypto })];
const connect = () =>
  new RapClient({ host: '127.0.0.1', callTimeoutMs: 5000, ...options, ...(processors && { processors }) });

const client = connect();
await client.connect();

const result = { calls: 0, errors: 0, firstError: undefined, connections: 0 };
const times = [];
const failed = (error) => {
  result.errors += 1;
  result.firstError ??= `${error?.name}: ${error?.message}`;
};
const call = () => {
  const began = performance.now();
  result.calls += 1;
  client.call('echo', { n: result.calls }).then(() => times.push(performance.now() - began), failed);
};
/** Somebody who comes while the attack goes on gets in as well. */
const newcomer = async () => {
  const other = connect();
  try {
    await other.call('echo', 'hello');
    result.connections += 1;
  } catch (error) {
    failed(error);
  }
  await other.close();
};

// the longest time that the event loop stood still, and the memory
let last = performance.now();
let longestPauseMs = 0;
let peakRss = 0;
setInterval(() => {
  const now = performance.now();
  longestPauseMs = Math.max(longestPauseMs, now - last - 5);
  last = now;
  peakRss = Math.max(peakRss, process.memoryUsage.rss());
}, 5).unref();

const started = performance.now();
let due = 0;
const pace = setInterval(() => {
  // a timer that comes late makes up for it: 200 a second, whatever happens
  const wanted = Math.floor((performance.now() - started) / 5);
  while (due < wanted) {
    due += 1;
    call();
    if (due % 100 === 0) void newcomer();
  }
}, 5);

process.on('message', async ({ id }) => {
  clearInterval(pace);
  const settled = () => times.length + result.errors >= result.calls;
  for (let i = 0; i < 120 && !settled(); i++) await new Promise((resolve) => setTimeout(resolve, 50));
  times.sort((a, b) => a - b);
  const at = (part) => Math.round(times[Math.floor((times.length - 1) * part)] ?? -1);
  process.send({
    id,
    value: {
      ...result,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      longestPauseMs: Math.round(longestPauseMs),
      peakMiB: Math.round(peakRss / 2 ** 20),
    },
  });
});
process.on('disconnect', () => process.exit());
process.send({ id: 0, value: 'ready' });
