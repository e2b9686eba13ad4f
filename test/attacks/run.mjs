// Attacks the built package as hostile peers would, with a well-behaved client beside: `npm run test:attacks`.
// Each attack has a server, a victim and two minutes with all others. `npm run test:attacks -- sparse` runs those that are named so.
import { Authority } from '../../sample/dist/certificates.js';
import { CryptoProcessor } from 'nestjs-rap';
import { attacks } from './attacks.mjs';
import { Child } from './harness.mjs';

const [wanted = ''] = process.argv.slice(2);
const keys = { aead: CryptoProcessor.generateKey(), 'rap-cbc': '0123456789abcdef' };
const authority = new Authority();
/** What a process may hold at most, unless its attack says otherwise. See docs/limits.md. */
const MOST_MIB = { server: 350, client: 250 };

let failed = 0;
for (const attack of attacks.filter(({ name }) => name.includes(wanted))) {
  const began = performance.now();
  const { problems, facts } = await outcomeOf(attack).catch((error) => ({
    problems: [error.message],
    facts: '',
  }));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'} ${attack.name} (${seconds} s) ${facts}`);
  for (const problem of problems) console.log(`       ${problem}`);
  if (problems.length > 0) failed += 1;
}
const passed = attacks.filter(({ name }) => name.includes(wanted)).length - failed;
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** A server of the package with a victim beside the attack; or a server that attacks the victim. */
async function outcomeOf({ server: { crypto: mode, ...options } = {}, tls, hostile, run, mostMiB, holds }) {
  const key = keys[mode];
  const crypto = mode && { crypto: { mode, key } };
  const server = hostile
    ? await hostile()
    : await Child.start(
        './server.mjs',
        { ...options, ...(tls && { tls: certificate() }), ...crypto },
        { heapMiB: 1024 },
      );
  const port = hostile ? server.address().port : server.ready;
  let victim;
  try {
    const trust = tls && { tls: { ca: authority.cert, servername: 'localhost' } };
    victim = await Child.start('./victim.mjs', { port, ...trust, ...crypto });
    const outcome = await run({ port, child: server, ca: authority.cert, key });
    const facts = { victim: await victim.ask(), server: hostile ? undefined : await server.ask(), outcome };
    const problems = [...(holds?.(facts) ?? []), ...beyond({ ...MOST_MIB, ...mostMiB }, facts)];
    const { calls, errors, firstError } = facts.victim;
    if (errors > 0) problems.push(`the victim saw ${errors} errors in ${calls} calls: ${firstError}`);
    return { problems, facts: factsOf(facts) };
  } finally {
    await victim?.stop();
    if (hostile) server.close();
    else await server.stop();
  }
}

/** Which process held more than it may. */
function beyond(most, { server, victim }) {
  return [
    ['server', server?.peakMiB],
    ['client', victim.peakMiB],
  ].flatMap(([name, peak]) => (peak > most[name] ? [`${name} ${peak} MiB > ${most[name]}`] : []));
}

function certificate() {
  return authority.issue({ commonName: 'localhost', names: ['localhost', '127.0.0.1'] });
}

function factsOf({ server, victim: { calls, p50Ms, p99Ms, peakMiB, longestPauseMs } }) {
  const ofServer = server
    ? `server ${server.peakMiB} MiB, pause ${server.longestPauseMs} ms, ${server.lines} log lines; `
    : '';
  return `${ofServer}client ${peakMiB} MiB, pause ${longestPauseMs} ms, ${calls} calls, p50 ${p50Ms}, p99 ${p99Ms} ms`;
}
