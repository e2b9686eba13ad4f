import type { Fault } from '../../protocol/fault.js';
import { cryptoFault } from '../../protocol/frame-seal.js';
import type { Link } from '../../protocol/link.js';
import type {
  AcceptedDeclare,
  ClientHandshake,
  ConnectionSecurity,
  SecurityHooks,
  ServerHandshake,
} from '../connection/security.js';
import type { CryptoStats } from './crypto-stats.js';
import type { KeyRing } from './key-ring.js';
import type { PythonKey } from './python-key.js';
import { PythonLink } from './python-link.js';

export interface PythonSecurityOptions {
  readonly side: 'client' | 'server';
  readonly keys: KeyRing<PythonKey>;
  readonly required: boolean;
  readonly stats: CryptoStats;
}

/** Python's mode: DECLARE names a key, and every body after it is encrypted with that. */
export class PythonSecurity implements ConnectionSecurity {
  readonly isJson = true;
  readonly warning =
    "CryptoProcessor in mode 'rap-cbc' hides bodies from a glance and protects them from nothing: use TLS, or mode 'aead'";

  constructor(private readonly options: PythonSecurityOptions) {}

  get side(): 'client' | 'server' {
    return this.options.side;
  }

  client(link: Link, _hooks: SecurityHooks): ClientHandshake {
    const { keys, stats } = this.options;
    const id = keys.current;
    const key = keys.get(id);
    const pythonLink = new PythonLink(link, 'client', stats);
    return {
      link: pythonLink,
      declare: () => ({ crypto_id: id, check_body: key.sealId(id) }),
      answered: () => {
        // Python's answer proves nothing: only the first body shows whether the server has the key
        pythonLink.key = key;
        stats.secured += 1;
        return undefined;
      },
      failed: (fault) => fault,
    };
  }

  server(link: Link, _hooks: SecurityHooks): ServerHandshake {
    const { keys, required, stats } = this.options;
    const pythonLink = new PythonLink(link, 'server', stats);
    return {
      link: pythonLink,
      explains: true,
      accept: ({ crypto_id: id, check_body: check }): AcceptedDeclare | undefined => {
        if (id === undefined && check === undefined && !required) return undefined;
        const name = typeof id === 'string' ? id : '';
        // a missing key takes the same time
        const key = keys.get(name);
        if (!key.provesId(check, name) || !keys.has(name)) {
          stats.refused += 1;
          throw refusal(name, keys.has(name));
        }
        pythonLink.key = key;
        stats.secured += 1;
        return { answer: {} };
      },
      proven: () => {},
      failed: (fault) => fault,
    };
  }
}

function refusal(id: string, isKnown: boolean): Fault {
  if (id === '') return cryptoFault('the client does not encrypt, which is required here');
  const name = JSON.stringify(id.slice(0, 128));
  return cryptoFault(
    isKnown
      ? `the client did not prove that it has the key ${name}`
      : `the client uses the key ${name}, which is not among those of this server`,
  );
}
