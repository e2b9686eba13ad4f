import { CryptoProcessor } from 'nestjs-rap';
import { runPair } from '../run.js';

// a key is made once and stored with the other secrets, from where both processes read it
process.env['RAP_KEY'] = CryptoProcessor.generateKey();
await runPair(import.meta.url);

console.log('\nthe same as Python does it:');
Object.assign(process.env, { RAP_MODE: 'rap-cbc', RAP_KEY: 'xxxxxxxxxxxxxxxx' });
await runPair(import.meta.url);
