import { createDecipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CLOSE_CODES, OTHER_CLOSE_CODE } from '../../lib/protocol/close-code.js';
import { CloseReason, EventTarget, PROTOCOL_VERSION } from '../../lib/protocol/event.js';
import { Extension, offeredExtensions } from '../../lib/protocol/extension.js';
import { MsgType } from '../../lib/protocol/frame.js';
import { LifeCycle } from '../../lib/protocol/life-cycle.js';
import { CODE_BY_STATUS, Status } from '../../lib/protocol/status.js';
import { CHANNEL_TABLE, type ChannelStep } from '../../lib/rpc/channel/channel-state.js';
import { DEFAULT_LIMITS } from '../../lib/rpc/limits.js';
import { advertisedLimits } from '../../lib/rpc/connection/peer-limits.js';
import { aeadVectors } from '../helpers/python/aead-vectors.js';
import { pythonOpen } from '../helpers/python/python-crypto.js';
import type { RawFrame } from '../helpers/raw-socket.js';
import { decode, encodeOwn } from './frames.js';

/** Sealed frames are a layer below the others. */
const RECORD = 104;

const text = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');

/** The lines under a heading, up to the next one of any level. */
function section(heading: string): string[] {
  const [, body] = text.split(`\n${heading}\n`);
  if (body === undefined) throw new Error(`no heading "${heading}"`);
  return (body.split(/\n#+ /)[0] as string).split('\n');
}

/** The rows of the first table in a section, without its head: the cells of each, without backticks. */
function table(heading: string, nth = 0): string[][] {
  const tables = section(heading)
    .join('\n')
    .split(/\n(?!\|)/)
    .filter((block) => block.includes('\n|'));
  const rows = (tables[nth] ?? '').split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

/** A step as the text shows it. */
const shown = (step: ChannelStep): string => ('to' in step ? step.to : step.refused);

/** Where a link to a heading goes. */
const anchor = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-');

const column = (heading: string, at = 0): string[] => table(heading).map((cells) => cells[at] as string);
const sorted = (list: Iterable<unknown>): string[] => Array.from(list, String).toSorted();

describe('the registries of the specification', () => {
  it('have the message types', () => {
    expect(column('### 23.1 Message types').map(Number)).toEqual(
      [...Object.values(MsgType), RECORD].toSorted((a, b) => a - b),
    );
  });

  it('have the life cycles', () => {
    expect(sorted(column('### 23.2 Life cycles'))).toEqual(sorted(Object.values(LifeCycle)));
  });

  it('have the header keys', () => {
    const source = readFileSync(new URL('../../lib/protocol/frame.ts', import.meta.url), 'utf8');
    const known = [...source.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, key]) => key);
    const more = ['close_code', 'last_id', 'X-rap-deadline', 'traceparent', 'tracestate'];
    expect(sorted(column('### 23.4 Header keys'))).toEqual(sorted([...known, ...more]));
  });

  it('have the events', () => {
    expect(sorted(column('### 23.5 Events'))).toEqual(sorted(Object.values(EventTarget)));
  });

  it('have the extensions, and their parameters', () => {
    const known = new Set<string>(Object.values(Extension));
    expect(sorted(column('### 23.7 Extensions'))).toEqual(sorted(known));
    const told = offeredExtensions(1, advertisedLimits(DEFAULT_LIMITS, true));
    for (const [name = '', parameters = ''] of table('### 23.7 Extensions')) {
      expect([name, parameters.split(', ').filter(Boolean)]).toEqual([name, Object.keys(told[name] ?? {})]);
    }
  });

  it('have the statuses', () => {
    expect(column('### 23.8 Statuses').map(Number)).toEqual(Object.values(Status));
  });

  it('have the codes of errors', () => {
    const rows = table('### 23.8 Statuses').map(([status, , code]) => [Number(status), code]);
    expect(rows).toEqual(Object.values(Status).map((status) => [status, CODE_BY_STATUS[status] ?? '']));
  });

  it('have the reasons to close, each with its number', () => {
    const rows = table('### 23.9 Close codes').map(([code, reason]) => [reason, Number(code)]);
    expect(rows).toEqual([['another text', OTHER_CLOSE_CODE], ...CLOSE_CODES]);
    for (const reason of Object.values(CloseReason)) expect(CLOSE_CODES.has(reason)).toBe(true);
  });

  it('name sections that exist', () => {
    for (const number of column('### 23.7 Extensions', 2)) expect(text).toContain(`\n### ${number} `);
  });
});

it('its table of limits has the defaults', () => {
  const units: Record<string, number> = { KiB: 1024, MiB: 1024 * 1024 };
  const rows = table('## 17. Limits');
  expect(rows.length).toBeGreaterThan(15);
  for (const [, value = '', option = ''] of rows) {
    const [number = '', unit = ''] = value.replaceAll(',', '').split(' ');
    expect([option, Number(number) * (units[unit] ?? 1)]).toEqual([
      option,
      DEFAULT_LIMITS[option as keyof typeof DEFAULT_LIMITS],
    ]);
  }
});

it('its table of limits has every bound of what a peer can do', () => {
  const own = [
    'connectTimeoutMs',
    'openTimeoutMs',
    'tlsHandshakeTimeoutMs',
    'maxQueuedCalls',
    'maxQueuedBytes',
    'maxPushedBytes',
    'framesPerTick',
    'sendBufferSoftBytes',
    'sendBufferHardBytes',
  ];
  const bounds = Object.keys(DEFAULT_LIMITS).filter((name) => !own.includes(name));
  expect(sorted(column('## 17. Limits', 2))).toEqual(sorted(bounds));
});

it('its version is the one that is said', () => expect(text).toContain(`version \`${PROTOCOL_VERSION}\``));

describe('its table of channels', () => {
  const events = ['peerDeclare', 'peerMsg', 'peerCredit', 'peerEnd', 'peerDrop'] as const;
  const steps = ['msg', 'end', 'drop'] as const;
  const heading = '### 9.3 States';

  it('has every frame of the peer in every state', () => {
    for (const [state, ...cells] of table(heading)) {
      if (state === 'closed') continue;
      const row = CHANNEL_TABLE[state as keyof typeof CHANNEL_TABLE];
      expect([state, ...cells]).toEqual([state, ...events.map((event) => shown(row[event]))]);
    }
    expect(table(heading).map(([state]) => state)).toEqual(Object.keys(CHANNEL_TABLE));
  });

  it('has every step of this side in every state', () => {
    for (const [state, ...cells] of table(heading, 1)) {
      if (state === 'closed') continue;
      const row = CHANNEL_TABLE[state as keyof typeof CHANNEL_TABLE];
      const expected = steps.map((step) => ('to' in row[step] ? row[step].to : 'error'));
      expect([state, ...cells.map((cell) => cell.split(';')[0])]).toEqual([state, ...expected]);
    }
  });
});

describe('its requirements and links', () => {
  it('have ids that are used once', () => {
    const ids = [...text.matchAll(/^- \[([A-Z]+-\d+)\]/gm)].map(([, id]) => id);
    expect(ids.length).toBeGreaterThan(100);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('say what is demanded in words of BCP 14', () => {
    const requirements = text.matchAll(/^- \[([A-Z]+-\d+)\](.*\n(?:(?! *- |\n|#).*\n)*)/gm);
    const bcp = /\b(?:MUST|SHOULD|MAY|REQUIRED|RECOMMENDED|OPTIONAL)\b/;
    expect([...requirements].filter(([whole]) => !bcp.test(whole)).map(([, id]) => id)).toEqual([]);
  });

  it('refer to ids that exist', () => {
    const defined = new Set([...text.matchAll(/^- \[([A-Z]+-\d+)\]/gm)].map(([, id]) => id));
    const used = [...text.matchAll(/(?<![\w-])([A-Z]{3,}-\d+)(?![\w-])/g)].map(([, id]) => id as string);
    const foreign = /^(?:AES|SHA|UTF|RFC|BCP|HKDF)-/;
    expect(used.filter((id) => !foreign.test(id) && !defined.has(id))).toEqual([]);
  });

  it('have contents that are complete', () => {
    const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading as string);
    const contents = [...text.matchAll(/^- \[(.*)\]\(#(.*)\)$/gm)].map(([, title, link]) => [title, link]);
    expect(contents).toEqual(headings.map((heading) => [heading, anchor(heading)]));
  });
});

// --- vectors ----------------------------------------------------------------------------------------------------

interface Line {
  readonly label: string;
  readonly value: string;
}

/** What a section of vectors prints: labels with what stands behind them, hex that goes on joined. */
function printed(heading: string): Line[] {
  const lines: Line[] = [];
  for (const line of section(heading)) {
    const [, label = '', value = ''] = /^ {4}(.{14})(\S.*)$/.exec(line) ?? [];
    if (value === '') continue;
    const last = lines.at(-1);
    if (label.trim() === '' && last && /^[\da-f]+$/.test(last.value))
      lines.splice(-1, 1, { ...last, value: last.value + value });
    else lines.push({ label: label.trim(), value });
  }
  return lines;
}

/** A frame as the text writes it. */
function parse(notation: string): unknown {
  const json = notation.replaceAll(
    /("(?:[^"\\]|\\.)*")|\bnil\b|([\w]+)(?=:)/g,
    (_all, quoted?: string, key?: string) => quoted ?? (key === undefined ? 'null' : JSON.stringify(key)),
  );
  try {
    return JSON.parse(json) as unknown;
  } catch {
    throw new Error(`cannot read ${notation.slice(0, 200)}`);
  }
}

const hex = (value: string): Buffer => Buffer.from(value, 'hex');

interface FrameVector {
  readonly group: string;
  readonly from: string;
  readonly frame: RawFrame;
  readonly hex: string;
}

const { frames: vectors } = JSON.parse(
  readFileSync(new URL('../fixtures/frames.json', import.meta.url), 'utf8'),
) as { frames: FrameVector[] };

describe('the vectors of frames', () => {
  it.each([...new Set(vectors.map(({ group }) => group))])(
    'stand in the text as in the file: %s',
    (group) => {
      const lines = printed(`### ${group}`);
      const rows = vectors.filter((vector) => vector.group === group);
      expect(lines.length).toBe(2 * rows.length);
      rows.forEach(({ from, frame, hex: bytes }, i) => {
        const [said, sent] = [lines[2 * i], lines[2 * i + 1]];
        expect([said?.label, parse(said?.value ?? ''), sent?.value]).toEqual([from, frame, bytes]);
      });
    },
  );

  it.each(vectors.map((vector) => [JSON.stringify(vector.frame).slice(0, 90), vector] as const))(
    'are what this implementation reads and writes: %s',
    (_name, { frame, hex: bytes }) => {
      const { frames, fault } = decode([hex(bytes)]);
      expect([frames, fault]).toEqual([[frame], undefined]);
      expect(encodeOwn(frame).toString('hex')).toBe(bytes);
    },
  );
});

it('the vectors of encrypted bodies say what the text says', () => {
  const lines = printed('### Encrypted bodies of Python');
  expect(lines.length).toBe(10);
  for (let i = 0; i < lines.length; i += 2) {
    const [frame] = decode([hex(lines[i]?.value ?? '')]).frames;
    const body = frame?.[3] as Buffer | { check_body: Buffer };
    const sealed = 'check_body' in body ? body.check_body : body;
    expect(pythonOpen(sealed).replace(/\0+$/, '')).toBe(lines[i + 1]?.value);
  }
});

describe.each(aeadVectors().map((vector) => [vector.name, vector] as const))(
  'the sealed vectors of %s',
  (name, { suite, records, declare, answer, confirm, key, keys, sealed }) => {
    const lines = printed(`### Sealed ${name}`);
    const of = (label: string): string | undefined => lines.find((line) => line.label === label)?.value;

    it('are those of the file', () => {
      expect([of('key'), of('D'), of('A'), of('confirm')]).toEqual(
        [key, declare, answer, confirm].map((bytes) => bytes.toString('hex')),
      );
      for (const side of ['client', 'server'] as const) {
        const direction = [of(`${side} key`), of(`${side} IV`)];
        expect(direction).toEqual([keys[side].key.toString('hex'), keys[side].iv.toString('hex')]);
      }
    });

    it('open to what is printed behind them', () => {
      let opened = 0;
      lines.forEach(({ label, value }, i) => {
        const [, side, number] = /^(client|server), (\d)$/.exec(label) ?? [];
        if (side !== 'client' && side !== 'server') return;
        expect(value).toBe(sealed[side][Number(number)]?.toString('hex'));
        const { bound, text: body } = cut(hex(value));
        const { iv, key: secret } = keys[side];
        const nonce = Buffer.from(iv);
        nonce[11] = (nonce[11] as number) ^ Number(number);
        const open = createDecipheriv(suite as 'aes-128-gcm', secret, nonce, { authTagLength: 16 });
        open.setAAD(bound, { plaintextLength: body.length - 16 });
        open.setAuthTag(body.subarray(-16));
        const clear = Buffer.concat([open.update(body.subarray(0, -16)), open.final()]).toString('hex');
        const next = lines[i + 1];
        const whole = next?.label === 'in clear' ? next.value : '';
        expect(records ? whole : whole.slice(2 * bound.length + 2)).toBe(clear);
        if (!records) expect(whole.slice(0, 2 * bound.length + 2)).toBe(`94${bound.toString('hex')}`);
        opened += 1;
      });
      expect(opened).toBeGreaterThan(3);
    });
  },
);

/** Type, id and header of a sealed frame, and its body. All of them have short headers. */
function cut(frame: Buffer): { bound: Buffer; text: Buffer } {
  for (let at = 3; at < frame.length; at++) {
    const long = frame[at] === 0xc5;
    if (frame[at] !== 0xc4 && !long) continue;
    const size = long ? frame.readUInt16BE(at + 1) : (frame[at + 1] as number);
    const start = at + (long ? 3 : 2);
    if (start + size === frame.length) return { bound: frame.subarray(1, at), text: frame.subarray(start) };
  }
  throw new Error('no sealed frame');
}
