import { runPair } from '../run.js';

await runPair(import.meta.url);
