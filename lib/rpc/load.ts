import { Account } from './account.js';

/** How much may run, and be held, at once. */
export interface LoadLimits {
  readonly calls: number;
  readonly channels: number;
  /** Cost: see {@link Account}. */
  readonly held: number;
}

/** What runs on a whole server, or for one address of it: calls, channels, and what is held for them. */
export class Load {
  calls = 0;
  channels = 0;
  readonly account: Account;

  constructor(
    private readonly limits: LoadLimits,
    /** The load of the server, which that of an address is a share of. */
    private readonly above?: Load,
  ) {
    this.account = new Account(limits.held, above?.account);
  }

  get running(): number {
    return this.calls + this.channels;
  }

  /** Whether nothing runs, and nothing is held. */
  get isIdle(): boolean {
    return this.running === 0 && this.account.held === 0;
  }

  /** Counts a call; false if it is one too many. In both cases it counts until it is removed. */
  addCall(): boolean {
    this.calls += 1;
    const fits = this.above === undefined || this.above.addCall();
    return fits && this.calls <= this.limits.calls;
  }

  removeCall(): void {
    this.calls -= 1;
    this.above?.removeCall();
  }

  /** As for calls. */
  addChannel(): boolean {
    this.channels += 1;
    const fits = this.above === undefined || this.above.addChannel();
    return fits && this.channels <= this.limits.channels;
  }

  removeChannel(): void {
    this.channels -= 1;
    this.above?.removeChannel();
  }
}
