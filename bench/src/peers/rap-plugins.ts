import type { ConnectionOptions, TlsOptions } from 'node:tls';
import { CryptoProcessor, type RapClientOptions, RapProcessor, type RapServerOptions } from 'nestjs-rap';
import type { Peer } from '../peer.js';
import { StringPatternController } from './nest-module.js';
import { rapPeer } from './rap.js';

/** `client.call()` with plugins on both sides: their cost is the ratio to `rap-call`. */
function plugged(plugins: () => { server: RapServerOptions; client: RapClientOptions }): Peer {
  return rapPeer(
    StringPatternController,
    (client) => ({ unary: (name, body) => client.call(name, body) }),
    plugins,
  );
}

class NoopProcessor extends RapProcessor {
  override processRequest(): void {}
  override processResponse(): void {}
}

export const rapProcessor = plugged(() => ({
  server: { processors: [new NoopProcessor()] },
  client: { processors: [new NoopProcessor()] },
}));

/** A shared key instead of certificates, so that no process must pass one to another. It costs the same per record. */
const psk = Buffer.alloc(16, 1);
const suite = { ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' } as const;

export const rapTls = plugged(() => ({
  server: { tls: { ...suite, pskCallback: () => psk } satisfies TlsOptions },
  client: {
    tls: {
      ...suite,
      pskCallback: () => ({ psk, identity: 'bench' }),
      checkServerIdentity: () => undefined, // without a certificate, the key is the identity
    } satisfies ConnectionOptions,
  },
}));

/** A key that all processes of the bench know; nobody else should use it. */
const benchKey = Buffer.from('nestjs-rap bench: this key is no secret');

export const rapAead = plugged(() => ({
  server: { processors: [new CryptoProcessor({ keys: { bench: benchKey } })] },
  client: { processors: [new CryptoProcessor({ keyId: 'bench', key: benchKey })] },
}));
