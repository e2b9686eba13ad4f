import { generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

/** A certificate and its key, as PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateRequest {
  readonly commonName: string;
  /** Host names and IPv4 addresses that the certificate is for. */
  readonly names?: readonly string[];
  /** It expired a year ago. */
  readonly expired?: boolean;
}

/**
 * A certificate authority for samples and tests only: X.509 v3 with P-256 keys, encoded as DER by hand, so that the repository has no
 * keys, no certificate in it expires, and no tool is needed.
 */
export class Authority {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  /** The authority's own certificate, as PEM. */
  readonly cert: string;

  constructor(private readonly name = 'test authority') {
    this.cert = this.#certificate(this.#keys.publicKey, { commonName: name }, true);
  }

  issue(request: CertificateRequest): Identity {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return {
      cert: this.#certificate(publicKey, request, false),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    };
  }

  #certificate(
    publicKey: KeyObject,
    { commonName, names = [], expired = false }: CertificateRequest,
    isAuthority: boolean,
  ): string {
    const extensions = [extension('551d13', isAuthority ? sequence(BOOLEAN_TRUE) : sequence())];
    if (names.length > 0) extensions.push(extension('551d11', sequence(...names.map(alternativeName))));
    const body = sequence(
      der(0xa0, der(0x02, Buffer.from([2]))), // version 3
      der(0x02, Buffer.concat([Buffer.from([0x01]), randomBytes(8)])),
      ECDSA_WITH_SHA256,
      distinguishedName(this.name),
      expired ? sequence(utcTime(-2), utcTime(-1)) : sequence(utcTime(-1), utcTime(1)),
      distinguishedName(commonName),
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, sequence(...extensions)),
    );
    const signature = sign('sha256', body, this.#keys.privateKey);
    const certificate = sequence(
      body,
      ECDSA_WITH_SHA256,
      der(0x03, Buffer.concat([Buffer.from([0]), signature])),
    );
    const lines = certificate
      .toString('base64')
      .replace(/(.{64})/g, '$1\n')
      .trimEnd();
    return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
  }
}

function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  const { length } = body;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

function sequence(...items: Buffer[]): Buffer {
  return der(0x30, ...items);
}

function objectId(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'));
}

const BOOLEAN_TRUE = der(0x01, Buffer.from([0xff]));
const ECDSA_WITH_SHA256 = sequence(objectId('2a8648ce3d040302'));

function distinguishedName(commonName: string): Buffer {
  return sequence(der(0x31, sequence(objectId('550403'), der(0x0c, Buffer.from(commonName)))));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(objectId(id), der(0x04, value));
}

/** A host name as dNSName, an IPv4 address as iPAddress. */
function alternativeName(name: string): Buffer {
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/.test(name);
  return isAddress ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name));
}

/** The time N years from now. */
function utcTime(years: number): Buffer {
  const date = new Date();
  date.setUTCFullYear(date.getUTCFullYear() + years, date.getUTCMonth(), 15);
  return der(0x17, Buffer.from(`${date.toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`));
}
