import { readFileSync } from 'node:fs';
import type { AeadSuite, DirectionKeys } from '../../../lib/protocol/crypto/aead-keys.js';

type Side<T> = Record<'client' | 'server', T>;

/** A conversation in the authenticated mode, which `aead.py` has made. */
export interface AeadVector {
  readonly name: string;
  readonly suite: AeadSuite;
  readonly records: boolean;
  /** What the sides are called, if they are. */
  readonly names: readonly string[];
  readonly key: Buffer;
  readonly declare: Buffer;
  readonly answer: Buffer;
  readonly confirm: Buffer;
  readonly keys: Side<DirectionKeys>;
  /** Frames as they were before they were sealed. */
  readonly plain: Side<Buffer[]>;
  readonly sealed: Side<Buffer[]>;
}

interface Raw extends Side<{ key: string; iv: string }> {
  suite: AeadSuite;
  records: boolean;
  names: string[];
  key: string;
  declare: string;
  answer: string;
  confirm: string;
  plain: Side<string[]>;
  sealed: Side<string[]>;
}

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const hexes = ({ client, server }: Side<string[]>): Side<Buffer[]> => ({
  client: client.map(hex),
  server: server.map(hex),
});
const keysOf = ({ key, iv }: { key: string; iv: string }): DirectionKeys => ({ key: hex(key), iv: hex(iv) });

export function aeadVectors(): AeadVector[] {
  const file = new URL('../../fixtures/aead.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as Raw[]).map((raw) => ({
    name: `${raw.records ? 'records' : 'frames'}, ${raw.suite}${raw.names.length > 0 ? ', with names' : ''}`,
    suite: raw.suite,
    records: raw.records,
    names: raw.names,
    key: hex(raw.key),
    declare: hex(raw.declare),
    answer: hex(raw.answer),
    confirm: hex(raw.confirm),
    keys: { client: keysOf(raw.client), server: keysOf(raw.server) },
    plain: hexes(raw.plain),
    sealed: hexes(raw.sealed),
  }));
}
