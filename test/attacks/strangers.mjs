// What those do that are not who they say, or have no business here.
import { createCipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { Attacker, declare, pack, sleep } from './harness.mjs';

/** The server takes who comes from here for somebody on another machine. */
const OUTSIDE = '127.0.0.9';
const most = (name, value, limit) => (value <= limit ? [] : [`${name}: ${value} > ${limit}`]);
const UNARY = { target: '/default/unary' };

/** A client of mode aead that names a key, seals with another, and takes the server's word for nothing. */
async function forge(port, keyId, key) {
  const attacker = await Attacker.connect(port);
  const random = randomBytes(32);
  const aead = { v: 1, key_id: keyId, random, suites: ['aes-128-gcm'] };
  const said = pack(declare({ aead }));
  const answered = new Promise((resolve) => attacker.socket.once('data', resolve));
  await attacker.bytes(said);
  const answer = await Promise.race([answered, sleep(1000)]);
  const agreed = attacker.frames[0]?.[3]?.aead;
  if (!agreed) return attacker;
  const hash = createHash('sha256').update(said).update(answer).digest();
  const info = Buffer.concat([Buffer.from('rap aead v1 keys aes-128-gcm'), hash]);
  const keys = Buffer.from(hkdfSync('sha256', key, Buffer.concat([random, agreed.random]), info, 56));
  const bound = pack([101, 5, UNARY]).subarray(1);
  const cipher = createCipheriv('aes-128-gcm', keys.subarray(0, 16), keys.subarray(16, 28)).setAAD(bound);
  const sealed = Buffer.concat([cipher.update(pack(null)), cipher.final(), cipher.getAuthTag()]);
  await attacker.bytes(Buffer.concat([Buffer.from([0x94]), bound, pack(sealed)]));
  return attacker;
}

/** A body as mode rap-cbc has it. */
function cbc(key, value) {
  const text = Buffer.from(JSON.stringify(value));
  const padded = Buffer.concat([text, Buffer.alloc((16 - (text.length % 16)) % 16)]);
  const cipher = createCipheriv('aes-128-cbc', key, key).setAutoPadding(false);
  return Buffer.from(Buffer.concat([cipher.update(padded), cipher.final()]).toString('hex'));
}

export const strangers = [
  {
    name: 'events of which another handler is private, from another machine',
    async run({ port }) {
      const attacker = await Attacker.open(port, { from: OUTSIDE, extensions: { one_way: {} } });
      const header = { target: '/default/both', one_way: true };
      await attacker.send(...Array.from({ length: 100 }, (_, i) => [101, 5 + 2 * i, header, null]));
      await sleep(500);
    },
    holds: ({ server: { runs } }) =>
      runs.publicEvent === 100 && !runs.privateEvent ? [] : [`handlers ran: ${JSON.stringify(runs)}`],
  },
  {
    name: 'keys that are none: forged ids, sealed with what may stand in for a key',
    server: { crypto: 'aead' },
    async run({ port, key }) {
      const known = Buffer.from(key, 'base64url');
      const guesses = [
        Buffer.alloc(32),
        Buffer.alloc(0),
        Buffer.from('decoy'),
        createHash('sha256').digest(),
      ];
      for (const id of ['nobody', '', '__proto__', 'constructor', 'one'])
        for (const guess of guesses) await forge(port, id, guess);
      for (const id of ['nobody', '', '__proto__']) await forge(port, id, known);
      await sleep(300);
      return { runs: (await forge(port, 'one', known)).closed }; // that it can be done right
    },
    holds: ({ server: { runs }, outcome }) =>
      runs.unary === 1 && !outcome.runs ? [] : [`handlers ran: ${JSON.stringify(runs)}`],
  },
  {
    name: 'messages of rap-cbc that are dated ahead, more than nonces are remembered',
    server: { crypto: 'rap-cbc' },
    async run({ port, key }) {
      const attacker = await Attacker.connect(port);
      await attacker.send(declare({ crypto_id: 'one', check_body: cbc(key, 'one') }));
      const timestamp = Math.floor(Date.now() / 1000) + 59;
      for (let i = 0; i < 70_000; i += 1000)
        await attacker.send(
          ...Array.from({ length: 1000 }, (_, n) => [
            101,
            5 + 2 * (i + n),
            UNARY,
            cbc(key, { body: null, timestamp, nonce: `ahead ${i + n}` }),
          ]),
        );
      await sleep(500);
    },
    holds: ({ server: { runs } }) => (runs.unary > 0 ? [] : ['no message was taken']),
  },
  {
    name: 'bytes and targets that make log lines, on connections without end',
    async run({ port }) {
      const until = performance.now() + 2000;
      const flood = async (lane) => {
        for (let i = 0; performance.now() < until; i++) {
          const attacker = await Attacker.open(port, { from: `127.0.1.${lane + 1}` });
          await attacker.send(
            ...Array.from({ length: 20 }, (_, n) => [101, 5 + 2 * n, { target: `/a/${lane} ${i} ${n}` }, 0]),
          );
          await attacker.bytes(Buffer.from('c1', 'hex'));
          attacker.vanish();
        }
      };
      await Promise.all(Array.from({ length: 32 }, (_, lane) => flood(lane)));
    },
    holds: ({ server }) => most('log lines', server.lines, 60),
  },
];
