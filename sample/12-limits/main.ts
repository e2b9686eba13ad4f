import { runPair } from '../run.js';
import { startRedis } from './redis.js';

const { url, stop } = await startRedis();
if (url) process.env['REDIS_URL'] = url;
await runPair(import.meta.url);
stop();
