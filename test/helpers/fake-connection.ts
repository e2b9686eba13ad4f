import type { RemoteAddress } from '../../lib/protocol/link.js';
import type { ConnectionMiddleware, RapConnection } from '../../lib/pipeline/api.js';
import { Gate } from './async.js';

let connections = 0;

/** A connection that goes when the test says so. */
export class FakeConnection implements RapConnection {
  readonly id = `connection ${(connections += 1)}`;
  readonly peer: RemoteAddress;
  readonly metadata = {};
  readonly state = new Map<unknown, unknown>();
  /** What it was closed with. */
  reason: string | undefined;
  served = false;
  readonly #gone = new Gate();

  constructor(
    address = '10.0.0.1',
    family: RemoteAddress['family'] = address.includes(':') ? 'IPv6' : 'IPv4',
  ) {
    this.peer = { address, port: 4000, family };
  }

  get closed(): Promise<void> {
    return this.#gone.opened;
  }

  close(reason = ''): void {
    this.reason ??= reason;
    this.#gone.open();
  }

  /** Takes it through a middleware, until it is served or refused. `end` lets it go, and waits until that is known. */
  async through(middleware: ConnectionMiddleware): Promise<{ end: () => Promise<void> }> {
    const decided = new Gate();
    const over = Promise.resolve(
      middleware.use(this, () => {
        this.served = true;
        decided.open();
        return this.closed;
      }),
    );
    void over.then(() => decided.open());
    await decided.opened;
    return {
      end: () => {
        this.#gone.open();
        return over;
      },
    };
  }
}
